import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from edge.training.client import build_client, handle
from edge.training.dataset import DatasetStore
from shared import federation as fed
from shared.codec import pack, unpack
from shared.federation import Instruction, MomentsAnswer
from shared.task import Moments
from shared.tasks import adapter
from shared.tasks.records import from_record, to_record
from shared.tasks.weights import form

TASK = adapter("activity")


@pytest.fixture
def store(tmp_path):
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 2, 3
    split = tmp_path / "activity"
    split.mkdir()
    source = np.random.default_rng(3)
    for name, count in (("train", 20), ("holdout", 8)):
        x = source.normal(size=(count, 6, 100)).astype(np.float32)
        np.savez(split / f"{name}.npz", x=x, y=source.integers(0, 7, count))
    store = DatasetStore(tmp_path)
    yield store
    store.close()


def weights():
    return TASK.initial(seed=1, moments=Moments(count=1, total=np.zeros(6), square=np.ones(6)))


def ask(kind, *, arrays=None, **instruction):
    fields = {"task": "activity", "form": form(weights())} | instruction
    content = RecordDict({fed.CONFIG: ConfigRecord({fed.INSTRUCTION: pack(Instruction(**fields))})})
    if arrays is not None:
        content[fed.ARRAYS] = arrays
    message = Message(content, 9, kind)
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def test_training_answers_with_weights_and_counts(store):
    message = ask(fed.TRAIN, arrays=to_record(weights()), epochs=1, learning_rate=0.02, seed=5)
    content = handle(build_client(store), message, 9).content
    assert content[fed.METRICS][fed.EXAMPLES] == 20
    trained = from_record(content[fed.ARRAYS], form(weights()))
    assert not np.array_equal(trained["head.weight"], weights()["head.weight"])


def test_evaluation_answers_with_counts(store):
    metrics = handle(build_client(store), ask(fed.EVALUATE, arrays=to_record(weights())), 9).content[fed.METRICS]
    assert metrics[fed.EXAMPLES] == 8
    assert 0 <= metrics[fed.CORRECT] <= 8


def test_moments_are_sums_over_the_training_part(store):
    reply = handle(build_client(store), ask(fed.MOMENTS), 9)
    answer = unpack(reply.content[fed.CONFIG][fed.ANSWER], MomentsAnswer)
    x = store.training("activity")[0].x.astype(np.float64)
    assert (answer.training, answer.holdout, answer.count) == (20, 8, 2000)
    assert np.allclose(answer.total, x.sum(axis=(0, 2)))
    assert np.allclose(answer.square, (x * x).sum(axis=(0, 2)))


@pytest.mark.parametrize(
    ("kind", "instruction", "arrays"),
    [
        (fed.TRAIN, {"task": "fashion"}, "good"),
        (fed.TRAIN, {"task": "poetry"}, "good"),
        (fed.TRAIN, {"labels": 5}, "good"),
        (fed.TRAIN, {}, None),
        (fed.TRAIN, {"form": {"w": (3,)}}, "good"),
        (fed.TRAIN, {"form": {}}, "good"),
        (fed.TRAIN, {}, "other"),
        (fed.CALIBRATE, {}, None),
        (fed.JUDGE, {}, "good"),
        ("query.run_this", {}, None),
    ],
)
def test_what_cannot_be_done_is_an_error_reply_and_the_next_message_is_served(store, kind, instruction, arrays):
    records = {"good": to_record(weights()), "other": ArrayRecord([np.zeros(3)]), None: None}
    app = build_client(store)
    reply = handle(app, ask(kind, arrays=records[arrays], **instruction), 9)
    assert reply.has_error()
    assert len(reply.error.reason) <= 300
    assert not handle(app, ask(fed.MOMENTS), 9).has_error()


def test_an_instruction_that_is_none_is_an_error_reply(store):
    for config in ({}, {fed.INSTRUCTION: b"\xff"}, {fed.INSTRUCTION: "text"}):
        message = Message(RecordDict({fed.CONFIG: ConfigRecord(config)}), 9, fed.TRAIN)
        message.metadata.__dict__["_message_id"] = message.object_id
        assert handle(build_client(store), message, 9).has_error()
