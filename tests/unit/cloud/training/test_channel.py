"""What the grid over a SuperLink makes of messages, without a SuperLink."""

from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.channel import PacedGrid, array_bytes
from cloud.training.control import SuperLinkAddress
from cloud.training.objects import take_apart
from shared.federation import ARRAYS
from shared.tasks.records import flat_record

HONEST, LIAR, MARK = 7, 66, 1


@pytest.fixture(autouse=True)
def _identity(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, MARK)


def message():
    content = RecordDict({ARRAYS: flat_record(np.zeros(1000, np.float32))})
    return Message(content=content, dst_node_id=1, message_type="train")


class Client:
    """Holds one reply: the head that a SuperLink checked, and the objects that a device wrote."""

    def __init__(self, head, tree, objects):
        self._head, self._tree, self._objects = head, tree, objects
        self.confirmed = []

    def PullMessages(self, _request):  # noqa: N802  Flower's name
        return SimpleNamespace(messages_list=[self._head], message_object_trees=[self._tree])

    def PullObject(self, request):  # noqa: N802
        content = self._objects[request.object_id].deflate()
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request):  # noqa: N802
        self.confirmed.append(request.message_object_id)


def test_a_message_is_as_large_as_its_arrays():
    assert 4000 < array_bytes(message()) < 4200


def test_a_reply_is_from_the_node_that_the_superlink_checked_whatever_the_node_wrote(tmp_path):
    written = message()
    written.metadata.__dict__["_src_node_id"] = HONEST  # a liar, in the honest node's name
    (tree,), objects = take_apart([written])
    head = message_to_proto(remove_content_from_message(written))
    head.metadata.src_node_id = LIAR
    (tmp_path / "ca.pem").write_bytes(b"")
    grid = PacedGrid(SuperLinkAddress(address="localhost:1", ca=tmp_path / "ca.pem", control_token="t"), task_token="t")
    grid.set_run(Run.create_empty(MARK))
    grid._client = client = Client(head, tree, objects)
    (reply,) = grid.pull_messages(["question"])
    assert reply.metadata.src_node_id == LIAR
    assert reply.content[ARRAYS]
    assert client.confirmed == [tree.object_id]
