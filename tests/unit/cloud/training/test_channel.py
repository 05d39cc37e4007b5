import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.channel import SLICE, SLICE_BYTES, array_bytes, replies_together
from shared.federation import ARRAYS
from shared.tasks.records import flat_record


@pytest.mark.parametrize(
    ("size", "together"), [(0, SLICE), (1000, SLICE), (SLICE_BYTES // 4, 4), (SLICE_BYTES, 1), (3 << 30, 1)]
)
def test_large_replies_come_one_by_one(size, together):
    assert replies_together(size) == together


def test_a_message_is_as_large_as_its_arrays(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    content = RecordDict({ARRAYS: flat_record(np.zeros(1000, np.float32))})
    message = Message(content=content, dst_node_id=1, message_type="train")
    assert 4000 < array_bytes(message) < 4200
