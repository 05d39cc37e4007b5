import numpy as np
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.channel import array_bytes
from shared.federation import ARRAYS
from shared.tasks.records import flat_record


def test_a_message_is_as_large_as_its_arrays(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    content = RecordDict({ARRAYS: flat_record(np.zeros(1000, np.float32))})
    message = Message(content=content, dst_node_id=1, message_type="train")
    assert 4000 < array_bytes(message) < 4200
