"""Whatever the bytes: `check_model` accepts or raises TrustError, and never anything else."""

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.errors import TrustError
from shared.modelfile import check_model
from tests.models import classifier, detector

MODELS = [classifier(), detector()]

edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.sampled_from(["set", "drop", "insert"])),
    min_size=1,
    max_size=6,
)


def verdict(data: bytes) -> bool:
    try:
        check_model(data)
    except TrustError:
        return False
    return True


@given(st.binary(max_size=400))
@settings(max_examples=250, deadline=None)
def test_any_bytes(data: bytes) -> None:
    verdict(data)


@given(st.sampled_from(MODELS), edits)
@settings(max_examples=250, deadline=None)
def test_mutated_models(model: bytes, changes: list[tuple[float, int, str]]) -> None:
    data = bytearray(model)
    for share, byte, kind in changes:
        at = int(share * len(data))
        data[at : at + (kind != "insert")] = b"" if kind == "drop" else bytes([byte])
    verdict(bytes(data))


@given(st.sampled_from(MODELS), st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_no_beginning_of_a_model_is_a_model_with_more_than_it_holds(model: bytes, share: float) -> None:
    data = model[: int(share * len(model))]
    if verdict(data):  # cut between two fields: then it is whole as far as it goes
        onnx.load_model_from_string(data)


shapes = st.lists(st.integers(0, 4), max_size=4)
kinds = st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.bool_])


@given(st.lists(st.tuples(shapes, kinds, st.booleans()), max_size=5))
@settings(max_examples=150, deadline=None)
def test_honest_tensors_pass(tensors: list[tuple[list[int], type[np.generic], bool]]) -> None:
    initializers = []
    for index, (shape, kind, raw) in enumerate(tensors):
        values = np.ones(shape, kind)
        tensor = numpy_helper.from_array(values, f"t{index}")
        if not raw:
            tensor = helper.make_tensor(f"t{index}", tensor.data_type, shape, values.flatten())
        initializers.append(tensor)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:], initializers)
    check_model(helper.make_model(graph).SerializeToString())


@given(st.sampled_from(MODELS), st.integers(1, 1 << 62))
@settings(max_examples=100, deadline=None)
def test_a_shape_and_its_bytes_agree_or_the_file_is_refused(model: bytes, size: int) -> None:
    altered = onnx.load_model_from_string(model)
    tensor = next(t for t in altered.graph.initializer if t.dims)
    honest = list(tensor.dims)
    tensor.dims[0] = size
    assert verdict(altered.SerializeToString()) == (list(tensor.dims) == honest)
