import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edge.training.memory import Memory, key
from shared import federation as fed


@pytest.fixture(autouse=True)
def identity():
    """Flower's messages read their run from here."""
    before = TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    yield
    TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id = before


def question(nonce, *, weight=1.0, kind="train", instruction=b"i"):
    arrays = ArrayRecord({"w": Array(np.full(3, weight, dtype=np.float32))})
    config = ConfigRecord({fed.INSTRUCTION: instruction, fed.NONCE: nonce})
    return Message(RecordDict({fed.ARRAYS: arrays, fed.CONFIG: config}), message_type=kind, dst_node_id=5)


def test_only_the_nonce_may_differ():
    assert key(question(b"1")) == key(question(b"2"))
    for other in (
        question(b"1", weight=2.0),
        question(b"1", kind="evaluate"),
        question(b"1", instruction=b"j"),
    ):
        assert key(other) != key(question(b"1"))


def test_the_same_question_costs_no_second_training():
    memory, worked = Memory(), []

    def work(message):
        def answer():
            worked.append(message)
            return Message(RecordDict({fed.METRICS: MetricRecord({"n": len(worked)})}), reply_to=message)

        return answer

    first, again, other = question(b"1"), question(b"2"), question(b"3", weight=2.0)
    assert memory.answer(first, work(first)).content[fed.METRICS]["n"] == 1
    assert memory.answer(again, work(again)).content[fed.METRICS]["n"] == 1
    assert memory.answer(other, work(other)).content[fed.METRICS]["n"] == 2
    assert len(worked) == 2


def test_an_error_is_not_remembered():
    memory, message = Memory(), question(b"1")
    failed = memory.answer(message, lambda: Message(Error(code=2, reason="full disk"), reply_to=message))
    assert failed.has_error()
    good = memory.answer(message, lambda: Message(RecordDict({fed.METRICS: MetricRecord({"n": 1})}), reply_to=message))
    assert not good.has_error()
