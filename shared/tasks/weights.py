"""Weights as bytes: their digest, a file format without pickle, and the comparison of two models' forms.

Only numpy: the coordinator judges and stores weights of models it could not run.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Mapping
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.ids import Digest
from shared.task import Weights

PIECE_BYTES = 1 << 20
"""What is written at once."""


def weights_digest(weights: Mapping[str, NDArray[np.float32]]) -> Digest:
    """SHA-256 over each tensor's name, shape and little-endian float32 bytes, in the model's own order."""
    state = hashlib.sha256()
    for name, values in weights.items():
        little = np.ascontiguousarray(values, dtype="<f4")
        state.update(f"{name}\0{','.join(map(str, little.shape))}\0".encode())
        state.update(little.reshape(-1).view(np.uint8).data)  # no copy: a tensor may be larger than what memory is left
    return Digest(state.hexdigest())


def form(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes: what two versions of one model have in common."""
    return {name: values.shape for name, values in weights.items()}


def pack_weights(weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Encode as an uncompressed `.npz` that keeps the order of the tensors."""
    buffer = io.BytesIO()
    write_weights(buffer, weights)
    return buffer.getvalue()


def write_weights(file: BinaryIO, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Write what `pack_weights` returns, a piece at a time; tensors may be larger than 2 GiB.

    `numpy.savez` would write the same bytes in pieces of 16 MiB.
    """
    with ZipFile(file, "w", ZIP_STORED, allowZip64=True) as archive:
        for name, values in weights.items():
            little = np.asarray(values, dtype="<f4", order="C")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, np.lib.format.header_data_from_array_1_0(little))
                bytes_ = little.reshape(-1).view(np.uint8).data
                for start in range(0, len(bytes_), PIECE_BYTES):
                    entry.write(bytes_[start : start + PIECE_BYTES])


def unpack_weights(data: bytes) -> Weights:
    """Decode `pack_weights`.

    Raises:
        ContractError: not such a file, or one that would need pickle.
    """
    return read_weights(io.BytesIO(data))


def read_weights(file: BinaryIO) -> Weights:
    """Read what `write_weights` wrote; holds no more than the tensors.

    Raises:
        ContractError: as `unpack_weights`.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], dtype=np.float32) for name in archive.files}
    except (ValueError, OSError, KeyError, EOFError, NotImplementedError, BadZipFile, zlib.error) as error:
        raise ContractError(f"no weights: {error}") from error
