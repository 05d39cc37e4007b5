"""Our way of taking messages apart and putting them together, against Flower's own."""

import json
import threading
import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, validate_object_content
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from cloud.training.objects import CHUNK_BYTES, LANES, in_lanes, put_together, take_apart
from shared.errors import ContractError
from shared.tasks.records import FLAT, Sendable, flat_record, read_arrays

MOST = 64 << 20


@pytest.fixture(autouse=True)
def _identity(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def message(*records):
    content = {f"arrays-{number}": record for number, record in enumerate(records)}
    content |= {"config": ConfigRecord({"b": b"\0x", "s": "s"}), "metrics": MetricRecord({"n": 3, "loss": 0.5})}
    return Message(RecordDict(content), dst_node_id=7, message_type="train", ttl=60.0)


def apart(sent):
    (tree,), objects = take_apart([sent])
    return tree, {name: one.deflate() for name, one in objects.items()}


def vector(chunks):
    return np.random.default_rng(3).standard_normal(int(chunks * CHUNK_BYTES / 4), dtype=np.float32)


@pytest.mark.parametrize("chunks", [0, 0.001, 0.9, 3.5])
def test_a_message_comes_back_as_it_was(chunks):
    values = vector(chunks)
    tree, contents = apart(message(flat_record(values), Sendable({"w": values}).record()))
    back = put_together(tree, contents.__getitem__, most=MOST)
    for name in ("arrays-0", "arrays-1"):
        assert read_arrays(back.content[name])[FLAT].tobytes() == values.tobytes()
    assert back.content["config"] == ConfigRecord({"b": b"\0x", "s": "s"})
    assert back.content["metrics"] == MetricRecord({"n": 3, "loss": 0.5})
    assert (back.metadata.dst_node_id, back.metadata.message_type) == (7, "train")


def test_chunks_that_are_the_same_travel_once():
    values = np.zeros(CHUNK_BYTES, np.float32)
    tree, contents = apart(message(flat_record(values)))
    assert sum(map(len, contents.values())) < values.nbytes
    assert read_arrays(put_together(tree, contents.__getitem__, most=MOST).content["arrays-0"])[FLAT].nbytes == 4 << 20


def test_flower_reads_what_is_taken_apart_and_several_arrays_come_back():
    record = ArrayRecord({name: Array(np.full((3, 2), value, np.float64)) for name, value in (("a", 1.0), ("b", 2.0))})
    tree, contents = apart(message(record, flat_record(vector(2.5))))
    for name, content in contents.items():
        validate_object_content(content)
        assert get_object_id(content) == name
    theirs = inflate_object_from_contents(tree.object_id, dict(contents))
    ours = put_together(tree, contents.__getitem__, most=MOST)
    for name in ("arrays-0", "arrays-1"):
        for field, array in theirs.content[name].items():
            assert bytes(ours.content[name][field].data) == array.data
            assert ours.content[name][field].shape == array.shape


def test_no_more_pieces_are_under_way_than_there_are_lanes():
    tree, contents = apart(message(flat_record(vector(9))))
    under_way, most, lock = 0, 0, threading.Lock()

    def pull(name):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.002)
        with lock:
            under_way -= 1
        return contents[name]

    put_together(tree, pull, most=MOST)
    assert most == LANES


def test_an_array_beyond_its_bound_is_refused_before_it_is_held():
    tree, contents = apart(message(flat_record(vector(8))))
    pulled = []

    def pull(name):
        pulled.append(name)
        return contents[name]

    with pytest.raises(ContractError, match="more than"):
        put_together(tree, pull, most=3 * CHUNK_BYTES)
    assert len(pulled) < len(contents)


def renamed(tree, contents, kind, change):
    """The same message with the body of its object of that kind changed; objects keep the names they had."""
    name = next(name for name, content in contents.items() if content.startswith(kind))
    head, body = contents[name].split(b"\0", 1)
    return contents | {name: head + b"\0" + change(body)}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (b"Array ", lambda body: b"{"),
        (b"Array ", lambda body: json.dumps(json.loads(body) | {"arraychunk_ids": [99]}).encode()),
        (b"Array ", lambda body: json.dumps(json.loads(body) | {"shape": ["x"]}).encode()),
        (b"ArrayRecord ", lambda body: b'{"w": "no such array"}'),
        (b"ArrayRecord ", lambda body: b"[]"),
        (b"RecordDict ", lambda body: b"{}"),
        (b"Message ", lambda body: b"\xff\xff"),
    ],
)
def test_objects_that_are_no_message_are_refused(kind, change):
    tree, contents = apart(message(flat_record(vector(0.1))))
    with pytest.raises(ContractError):
        put_together(tree, renamed(tree, contents, kind, change).__getitem__, most=MOST)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data):
    with pytest.raises(ContractError):
        put_together(ObjectTree(object_id="x"), lambda _: data, most=MOST)


def test_results_come_in_the_order_of_the_names_and_a_failure_ends_the_work():
    assert list(in_lanes(lambda name: name * 2, "abcde")) == ["aa", "bb", "cc", "dd", "ee"]
    done = []

    def work(name):
        done.append(name)
        if name == "b":
            raise KeyError(name)
        return name

    with pytest.raises(KeyError):
        list(in_lanes(work, "abcdefgh"))
    assert len(done) <= LANES + 1
