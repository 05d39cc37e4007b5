import io
import subprocess
import sys

import numpy as np
import pytest

from shared.errors import ContractError
from shared.tasks.records import flatten, from_record, to_record, unflatten
from shared.tasks.weights import form, pack_weights, unpack_weights, weights_digest

WEIGHTS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([-1.5], dtype=np.float32),
    "scalar": np.array(2.0, dtype=np.float32),
}


def test_the_digest_covers_names_shapes_values_and_order():
    digest = weights_digest(WEIGHTS)
    renamed = {"c" if name == "a" else name: values for name, values in WEIGHTS.items()}
    reshaped = WEIGHTS | {"b": WEIGHTS["b"].reshape(3, 2)}
    changed = WEIGHTS | {"a": np.array([-1.4], dtype=np.float32)}
    reordered = dict(reversed(WEIGHTS.items()))
    assert len({digest, *map(weights_digest, (renamed, reshaped, changed, reordered))}) == 5


def test_the_digest_does_not_depend_on_the_memory_layout():
    assert weights_digest(WEIGHTS) == weights_digest(WEIGHTS | {"b": np.asfortranarray(WEIGHTS["b"])})
    assert weights_digest(WEIGHTS) == weights_digest(WEIGHTS | {"b": WEIGHTS["b"].astype(">f4")})


def test_a_file_keeps_order_shapes_and_bits():
    again = unpack_weights(pack_weights(WEIGHTS))
    assert list(again) == list(WEIGHTS)
    assert weights_digest(again) == weights_digest(WEIGHTS)


def test_a_file_that_needs_pickle_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([print], dtype=object))
    for data in (buffer.getvalue(), b"", b"PK nonsense", b"\x80\x04."):
        with pytest.raises(ContractError):
            unpack_weights(data)


def test_a_vector_holds_all_tensors():
    assert weights_digest(unflatten(flatten(WEIGHTS), form(WEIGHTS))) == weights_digest(WEIGHTS)
    assert weights_digest(from_record(to_record(WEIGHTS), form(WEIGHTS))) == weights_digest(WEIGHTS)


@pytest.mark.parametrize("shape", [(7,), (9,), (2, 4), ()])
def test_a_vector_of_another_length_is_refused(shape):
    with pytest.raises(ContractError):
        unflatten(np.zeros(shape, dtype=np.float32), form(WEIGHTS))


def test_weights_need_no_training_framework():
    code = "import sys, shared.tasks.weights, shared.tasks; shared.tasks.adapter('activity'); "
    code += "assert not {'torch', 'flwr', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("piece", [1, 16, 1 << 20])
def test_pieces_make_the_file_that_numpy_makes_whole(monkeypatch, piece):
    monkeypatch.setattr("shared.tasks.weights.PIECE_BYTES", piece)
    weights = {"a/b": np.arange(12, dtype=np.float32).reshape(3, 4), "none": np.zeros((0, 2), dtype=np.float32)}
    whole = io.BytesIO()
    np.savez(whole, **weights)
    assert pack_weights(weights) == whole.getvalue()
