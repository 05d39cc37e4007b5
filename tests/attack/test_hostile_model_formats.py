"""Files that are no model, and safetensors files that are more than tensors: refused by their content."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.onnx_runtime import OnnxSession
from shared.errors import TrustError
from shared.modelformat import Format, check_file
from shared.safetensors import MAX_HEADER, MAX_TENSORS, check_safetensors
from tests.models import classifier

HEADER = {
    "__metadata__": {"format": "pt"},
    "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "bias": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
    "empty": {"dtype": "I64", "shape": [0, 4], "data_offsets": [28, 28]},
}


def written(header=HEADER, data=bytes(28)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def changed(name, **fields):
    return written(HEADER | {name: HEADER.get(name, {}) | fields})


def test_honest_files_are_told_apart_by_content():
    assert check_file(classifier()) is Format.ONNX
    assert check_file(written()) is Format.SAFETENSORS
    scalar = {"x": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}}
    assert check_file(written(scalar, b"ab")) is Format.SAFETENSORS
    padded = json.dumps(HEADER).encode().ljust(512)  # writers align the data with blanks
    assert check_file(written(padded)) is Format.SAFETENSORS


class Bomb:
    def __reduce__(self):
        return print, ("owned",)


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10_000_000))  # 1,000 times smaller than what comes out
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("../../etc/cron.d/x")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def arrays():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


FOREIGN = {
    **{f"pickle {protocol}": pickle.dumps(Bomb(), protocol=protocol) for protocol in range(6)},
    "zip": zipped(),
    "npz": arrays(),
    "tar": tarred(),
    "gzip": gzip.compress(bytes(1_000_000)),
    "bzip2": bz2.compress(bytes(1_000)),
    "xz": lzma.compress(bytes(1_000)),
    "npy": array(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "tensorflow saved model": b"\x08\x01\x12\xff\x7f" + b"saved_model_main_op" * 50,
    "tensorflow lite": b"\x1c\x00\x00\x00TFL3" + bytes(100),
    "program": b"\x7fELF" + bytes(100),
    "script": b"#!/bin/sh\nrm -rf /\n",
    "text": b"import os; os.system('x')",
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_every_other_format_is_refused_on_the_way_in_and_on_the_device(name):
    with pytest.raises(TrustError):
        check_file(FOREIGN[name])
    with pytest.raises(TrustError):
        OnnxSession.from_bytes(FOREIGN[name])


def test_weights_alone_are_nothing_a_device_runs():
    assert OnnxSession.from_bytes(classifier()).providers
    with pytest.raises(TrustError, match="weights alone"):
        OnnxSession.from_bytes(written())


TWICE = json.dumps(HEADER)[:-1].encode() + b', "bias": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]}}'

HOSTILE = {
    "name twice": written(TWICE),
    "field twice": written(json.dumps(HEADER).encode().replace(b'"dtype"', b'"dtype": "U8", "dtype"', 1)),
    "overlap": changed("bias", data_offsets=[20, 24]),
    "the same bytes": changed("bias", dtype="F32", shape=[2, 3], data_offsets=[0, 24]),
    "gap": written(
        HEADER
        | {"bias": HEADER["bias"] | {"data_offsets": [26, 30]}, "empty": HEADER["empty"] | {"data_offsets": [30, 30]}},
        bytes(30),
    ),
    "room behind": written(HEADER, bytes(29)),
    "cut": written(HEADER, bytes(27)),
    "past the end": changed("empty", shape=[1, 4], data_offsets=[28, 60]),
    "backwards": changed("empty", data_offsets=[28, 20]),
    "too small": changed("weight", shape=[200, 300]),
    "product over 64 bits": changed("weight", shape=[1 << 40, 1 << 40, 1 << 40]),
    "negative": changed("weight", shape=[-2, -3]),
    "fraction": changed("weight", shape=[2.0, 3]),
    "boolean": changed("empty", shape=[False, True]),
    "rank": changed("weight", shape=[1] * 17 + [6]),
    "unknown type": changed("weight", dtype="OBJECT"),
    "type of another kind": changed("weight", dtype=["F32"]),
    "three offsets": changed("weight", data_offsets=[0, 24, 24]),
    "offset over 64 bits": changed("empty", data_offsets=[1 << 70, 1 << 70]),
    "further field": changed("weight", location="../../etc/passwd"),
    "no place": written({"weight": {"dtype": "F32", "shape": [6]}}),
    "a list": written(b'{"a": [1, 2]}'),
    "notes of numbers": written(HEADER | {"__metadata__": {"x": 1}}),
    "notes of notes": written(HEADER | {"__metadata__": {"x": {}}}),
    "no tensor": written({}, b""),
    "only notes": written({"__metadata__": {}}, b""),
    "not a number": written(json.dumps(HEADER).encode().replace(b"24", b"NaN", 1)),
    "endless number": written(json.dumps(HEADER).encode().replace(b"24", b"9" * 5000, 1)),
    "no table": written(b"{"),
    "deep": written(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no text": written(b'{"\xff": 1}'),
    "long name": written({"x" * 1000: {"dtype": "U8", "shape": [28], "data_offsets": [0, 28]}}),
    "header past the end": struct.pack("<Q", 1 << 40) + b"{}" + bytes(28),
    "header over the limit": struct.pack("<Q", MAX_HEADER + 1) + b"{" + b" " * MAX_HEADER,
    "too many": written(
        {str(n): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(MAX_TENSORS + 1)}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_safetensors_that_are_more_than_tensors_are_refused(name):
    check_safetensors(written())
    started = time.perf_counter()
    with pytest.raises(TrustError):
        check_safetensors(HOSTILE[name])
    assert time.perf_counter() - started < 60
    with pytest.raises(TrustError):
        check_file(HOSTILE[name])


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_raise_anything_else(noise, place, value):
    data = bytearray(written())
    data[place % len(data)] = value
    for each in (noise, bytes(data), bytes(data) + noise, written(noise), bytes(data[: place % len(data)])):
        try:
            check_file(each)
        except TrustError:
            continue
