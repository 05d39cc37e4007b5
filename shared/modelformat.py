"""Which kind of model file these bytes are, told by their content: ONNX, or safetensors, or refused.

A name proves nothing, so none is asked for. What can carry code or unpack into something else (pickles, archives and
all formats that are one inside) is refused with its own name, because whoever brought it should learn why.
"""

from __future__ import annotations

from enum import StrEnum

from shared.errors import TrustError
from shared.modelfile import check_model
from shared.safetensors import check_safetensors, looks_like_safetensors


class Format(StrEnum):
    """What is accepted."""

    ONNX = "onnx"
    """A graph with its weights."""

    SAFETENSORS = "safetensors"
    """Weights alone."""


_REFUSED = (
    (0, b"PK\x03\x04", "a zip archive (PyTorch, Keras and NumPy files are such)"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\x00", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstandard"),
    (0, b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras writes such, with code in it)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"#!", "a script"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"GGUF", "a GGUF model"),
)
"""Offset, bytes there, and what begins so."""

_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # protocol 2 and later; the older are no message of ONNX


def check_file(data: bytes) -> Format:
    """Accept a self-contained model of a known format, and say which.

    Raises:
        TrustError: anything else; the message says what was found. Never another error, whatever the bytes.
    """
    for offset, magic, what in _REFUSED:
        if data[offset : offset + len(magic)] == magic:
            raise TrustError(f"the file is {what}, which is no model that can be proven")
    if data[:2] in _PICKLE:
        raise TrustError("the file is a pickle, which runs code when it is read")
    if looks_like_safetensors(data):
        check_safetensors(data)
        return Format.SAFETENSORS
    check_model(data)
    return Format.ONNX
