from itertools import pairwise
from random import Random

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.distribution.cut import LEAST, TENSOR, borders, cut
from shared.bundle import CHUNK_SIZE
from shared.ids import sha256

NOISE = Random(7).randbytes(3 << 20)


def model(*, head=1, names="layer"):
    """A backbone of a tensor over a chunk and a small one, with a head that `head` seeds."""
    tensors = []
    for number, (seed, shape) in enumerate([(11, (300, 300)), (12, (40,)), (13, (128, 128)), (head, (128, 100))]):
        values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        tensors.append(numpy_helper.from_array(values, f"{names}{number}"))
    nodes = [helper.make_node("Identity", [f"{names}{number}"], [f"y{number}"]) for number in range(4)]
    outputs = [helper.make_tensor_value_info("y3", TensorProto.FLOAT, [128, 100])]
    graph = helper.make_graph(nodes, "g", [], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def digests(data):
    return [chunk.digest for chunk in cut(data)]


def new_bytes(before, after):
    known = set(digests(before))
    return sum(chunk.size for chunk in cut(after) if chunk.digest not in known)


@given(st.binary(max_size=3000))
def test_chunks_make_the_file_again(data):
    found = borders(data)
    assert (found[0], found[-1]) == (0, len(data))
    assert all(start < end <= start + CHUNK_SIZE for start, end in pairwise(found))


@pytest.mark.parametrize("data", [NOISE, bytes(2 << 20), model(), model() + NOISE], ids=["noise", "zeros", "onnx", "-"])
def test_large_files_are_cut_within_bounds(data):
    found = cut(data)
    assert sum(chunk.size for chunk in found) == len(data)
    assert all(0 < chunk.size <= CHUNK_SIZE for chunk in found)
    start = 0
    for chunk in found:
        assert sha256(data[start : start + chunk.size]) == chunk.digest
        start += chunk.size


def test_large_tensors_begin_chunks():
    data, found = model(), borders(model())
    for tensor in onnx.load_from_string(data).graph.initializer:
        if len(tensor.raw_data) >= TENSOR:
            assert data.index(tensor.raw_data) in found


def test_a_new_head_leaves_the_backbone_alone():
    before, after = model(head=1), model(head=2)
    assert new_bytes(before, after) <= 128 * 100 * 4 + 2048


def test_longer_names_leave_the_weights_alone():
    before, after = model(), model(names="a-much-longer-name-of-a-layer")
    assert new_bytes(before, after) < 0.5 * len(after)
    large = [300 * 300 * 4 // CHUNK_SIZE * CHUNK_SIZE]  # whole chunks of the first tensor keep their digests
    assert sum(chunk.size for chunk in cut(after) if chunk.digest in digests(before)) >= large[0]


def test_bytes_put_in_front_change_the_first_chunks_only():
    assert len(set(digests(b"in front" + NOISE)) - set(digests(NOISE))) <= 2


def test_content_decides_more_often_than_the_bound():
    sizes = [chunk.size for chunk in cut(NOISE)][:-1]
    assert min(sizes) >= LEAST
    assert sum(size == CHUNK_SIZE for size in sizes) < len(sizes) / 3


def test_borders_do_not_depend_on_the_blocks_in_which_hashes_are_taken(monkeypatch):
    whole = borders(NOISE)
    monkeypatch.setattr("cloud.distribution.cut._BLOCK", 77_777)
    assert borders(NOISE) == whole


def test_the_cut_is_the_same_for_ever():
    # devices hold chunks of what was cut before: another gear table would send every model anew
    assert borders(NOISE)[:4] == [0, 94886, 180293, 251960]
