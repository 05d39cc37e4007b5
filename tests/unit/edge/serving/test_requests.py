"""Requests of the Open Inference Protocol as callers write them, and as they should not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.serving.answers import Answered, Output, choose_outputs, write_answer
from edge.serving.requests import DTYPES, MAX_JSON, Asked, Wanted, read_request
from shared.errors import ContractError


def document(**changes):
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2.5, 3]} | changes
    return {"id": "7", "inputs": [tensor]}


def body(**changes):
    return json.dumps(document(**changes)).encode()


def test_json_flat_or_nested():
    for data in ([1, 2.5, 3], [[1, 2.5, 3]]):
        asked = read_request(body(data=data))
        assert asked.id == "7"
        assert asked.inputs[0].values.tolist() == [[1, 2.5, 3]]
        assert asked.inputs[0].values.dtype == np.float32


@given(
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            hnp.arrays(
                DTYPES[name],
                hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
                elements={"allow_nan": False, "allow_infinity": False} if DTYPES[name].kind == "f" else None,
            ),
        )
    )
)
def test_what_is_written_is_read_as_json_and_as_bytes(given):
    name, values = given
    tensor = {"name": "x", "shape": list(values.shape), "datatype": name}
    flat = json.dumps({"inputs": [tensor | {"data": values.ravel().tolist()}]}).encode()
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": values.nbytes}}]}).encode()
    for asked in (read_request(flat), read_request(head + values.tobytes(), json_length=len(head))):
        read = asked.inputs[0].values
        assert read.dtype == values.dtype
        assert np.array_equal(read, values)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": ["1", "2", "3"]}, "are no FP32"),
        ({"data": [True, False, True]}, "are no FP32"),
        ({"data": [1, 2]}, r"shape \[2\], not \[1, 3\]"),
        ({"data": [[1], [2], [3]]}, r"shape \[3, 1\]"),
        ({"data": [[1, 2], [3]]}, "do not fit"),
        ({"data": {"a": 1}}, "are no FP32"),
        ({"data": None}, "are no FP32"),
        ({"datatype": "UINT8", "data": [1, 2, 300]}, "do not fit UINT8"),
        ({"datatype": "INT8", "data": [1, 2, 0.5]}, "are no INT8"),
        ({"datatype": "BYTES"}, "known are"),
        ({"datatype": "FP32" * 100}, "known are"),
        ({"shape": []}, "impossible shape"),
        ({"shape": [-1, 3]}, "impossible shape"),
        ({"shape": [1 << 40, 3]}, "impossible shape"),
        ({"shape": [1] * 9}, "impossible shape"),
        ({"parameters": {"binary_data_size": 12}}, "bytes are left"),
        ({"parameters": {"binary_data_size": True}}, "binary_data_size"),
        ({"parameters": {"binary_data_size": -4}}, "binary_data_size"),
        ({"shape": "x"}, "no inference request"),
    ],
)
def test_what_is_wrong_is_said(changes, says):
    with pytest.raises(ContractError, match=says):
        read_request(body(**changes))


def test_no_data_at_all():
    tensor = {"name": "x", "shape": [1], "datatype": "FP32"}
    with pytest.raises(ContractError, match="neither data"):
        read_request(json.dumps({"inputs": [tensor]}).encode())
    with pytest.raises(ContractError, match="1 to 8 inputs"):
        read_request(b'{"inputs":[]}')


@pytest.mark.parametrize("length", [-1, 1000])
def test_a_length_of_json_that_cannot_be(length):
    with pytest.raises(ContractError, match="Inference-Header-Content-Length"):
        read_request(body(), json_length=length)


def test_bytes_that_nobody_asked_for():
    text = body()
    with pytest.raises(ContractError, match="3 bytes follow"):
        read_request(text + b"abc", json_length=len(text))


def test_json_that_is_too_long_is_not_read():
    with pytest.raises(ContractError, match="send binary tensors"):
        read_request(b" " * (MAX_JSON + 1))


def test_deep_nests_end_in_a_sentence():
    text = body().replace(b"[1, 2.5, 3]", b"[" * 50_000)
    with pytest.raises(ContractError):
        read_request(text)


def test_what_callers_may_say_beside():
    said = document()
    said["outputs"] = [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}]
    said["parameters"] = {"binary_data_output": True, "raw": True}
    asked = read_request(json.dumps(said).encode())
    assert (asked.binary, asked.raw) == (True, True)
    assert asked.outputs == [Wanted(name="logits", binary=True, classes=2)]
    said["outputs"][0]["parameters"]["classification"] = "all"
    with pytest.raises(ContractError, match="classification"):
        read_request(json.dumps(said).encode())


OUTPUTS = {"logits": np.float32([[0.5, 2.0, -1.0], [1.0, 0.0, 3.0]])}


def answered(asked):
    outputs = choose_outputs(asked, OUTPUTS, ["a", "b", "c"])
    return write_answer(Answered(model="m", version="3", id="7", outputs=outputs))


def test_an_answer_in_json():
    content, length = answered(Asked(inputs=[]))
    assert length is None
    assert json.loads(content) == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 2.0, -1.0, 1.0, 0.0, 3.0]}],
    }


def test_an_answer_in_bytes():
    content, length = answered(Asked(inputs=[], binary=True))
    (output,) = json.loads(content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(content[length:], "<f4").tolist() == OUTPUTS["logits"].ravel().tolist()


def test_the_best_classes_with_their_labels():
    content, _ = answered(Asked(inputs=[], outputs=[Wanted(name="logits", classes=2)]))
    (output,) = json.loads(content)["outputs"]
    assert output["datatype"] == "BYTES"
    assert output["shape"] == [2, 2]
    assert output["data"] == ["2.000000:1:b", "0.500000:0:a", "3.000000:2:c", "1.000000:0:a"]


def test_texts_in_bytes_carry_their_length():
    assert Output(name="x", datatype="BYTES", shape=[1], values=[b"ab"], binary=True).to_bytes() == b"\2\0\0\0ab"


def test_outputs_that_there_are_not():
    with pytest.raises(ContractError, match="there are logits"):
        answered(Asked(inputs=[], outputs=[Wanted(name="boxes")]))
    with pytest.raises(ContractError, match="no value for each class"):
        choose_outputs(Asked(inputs=[], outputs=[Wanted(name="logits", classes=1)]), OUTPUTS, ["a"])
