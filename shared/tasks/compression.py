"""Client updates in fewer bytes: 8 bits a value, or only the greatest values; what is lost is sent later.

A compressed update is the difference to the global model it started from. The device adds what earlier rounds lost
(the residual) before it compresses, and keeps what this round loses: error feedback (Seide et al. 2014; Stich et al.,
arXiv:1809.07599; Karimireddy et al., arXiv:1901.09847). Without it, top-k never sends a small but steady change.

Only numpy, and float32 operations whose result is defined: the same arguments give the same bytes.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.codec import pack, unpack
from shared.errors import ContractError

BLOCK = 256
"""Values that share one scale: 4 bytes on 256, and one outlier coarsens no more than these."""

LEVELS = 127

MOST_VALUES = 1 << 31
"""Of one update, whatever it says: indices are 32 bits."""

Vector = NDArray[np.float32]


class Kind(StrEnum):
    """How an update is compressed."""

    NONE = "none"
    INT8 = "int8"
    """Per block one float32 scale, per value one signed byte, rounded up or down by chance so that the mean stays."""

    TOP_K = "top-k"
    """The values of the greatest magnitude, exactly, with their places."""


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """How the updates of a run are compressed."""

    kind: Kind = Kind.NONE
    share: float = 0.05
    """Of the values that `TOP_K` sends, above 0 to 1; at least one is sent."""


def check_compression(compression: Compression) -> None:
    """Refuse what cannot be.

    Raises:
        ContractError: the share is out of range.
    """
    if not 0.0 < compression.share <= 1.0:
        raise ContractError(f"top-k sends a share of the values above 0, at most 1, not {compression.share}")


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A compressed vector on the wire; arrays are little-endian bytes."""

    kind: Kind
    length: int
    scales: bytes = b""
    """float32, one a block (`INT8`)."""

    places: bytes = b""
    """uint32, rising (`TOP_K`)."""

    values: bytes = b""
    """int8 (`INT8`) or float32 (`TOP_K`)."""


def compress(change: Vector, residual: Vector, *, compression: Compression, seed: int) -> tuple[bytes, Vector]:
    """Return the packed update and what it lost: the residual of the next round.

    Args:
        change: trained minus global weights, [n], finite.
        residual: what earlier rounds lost, [n].
        compression: how; not `NONE`.
        seed: decides the rounding of `INT8`: the device's local seed of the round.

    Raises:
        ContractError: the two vectors do not fit, or the compression is none.
    """
    check_compression(compression)
    if change.shape != residual.shape or change.ndim != 1 or compression.kind is Kind.NONE:
        raise ContractError(f"a change of {change.shape}, a residual of {residual.shape}, {compression.kind}")
    wanted = (change + residual).astype("<f4")
    packed = (
        _quantised(wanted, seed) if compression.kind is Kind.INT8 else _greatest(wanted, _count(compression, wanted))
    )
    return pack(packed), wanted - _values(packed)


def decompress(data: bytes, *, compression: Compression, length: int) -> Vector:
    """Return the change, [length]; its values are as untrusted as any update's and go through the gate.

    Raises:
        ContractError: these are no vector of that length, compressed so; nothing larger was allocated.
    """
    packed = unpack(data, Packed)
    if packed.kind is not compression.kind or packed.length != length or not 0 <= length < MOST_VALUES:
        raise ContractError(f"an update of {packed.length} values by {packed.kind}, not {length}")
    if packed.kind is Kind.INT8:
        if len(packed.values) != length or len(packed.scales) != 4 * -(-length // BLOCK) or packed.places:
            raise ContractError("an 8-bit update has other sizes than it says")
    elif packed.kind is Kind.TOP_K:
        if len(packed.places) % 4 or len(packed.places) != len(packed.values) or packed.scales:
            raise ContractError("a top-k update has other sizes than it says")
        places = np.frombuffer(packed.places, dtype="<u4")
        if len(places) and (int(places[-1]) >= length or not (places[1:] > places[:-1]).all()):
            raise ContractError("a top-k update names places outside the model, or one twice")
    else:
        raise ContractError("this run's updates are not compressed")
    return _values(packed)


def _count(compression: Compression, wanted: Vector) -> int:
    return min(len(wanted), max(1, round(compression.share * len(wanted))))


def _quantised(wanted: Vector, seed: int) -> Packed:
    blocks = np.zeros((-(-len(wanted) // BLOCK), BLOCK), dtype=np.float32)
    blocks.reshape(-1)[: len(wanted)] = wanted
    scales = (np.abs(blocks).max(axis=1, initial=0.0) / LEVELS).astype("<f4")
    steps = blocks / np.where(scales == 0.0, np.float32(1.0), scales)[:, None]
    chance = np.random.Generator(np.random.PCG64(seed)).random(steps.shape, dtype=np.float32)
    rounded = np.clip(np.floor(steps + chance), -LEVELS, LEVELS).astype(np.int8)
    values = rounded.reshape(-1)[: len(wanted)]
    return Packed(kind=Kind.INT8, length=len(wanted), scales=scales.tobytes(), values=values.tobytes())


def _greatest(wanted: Vector, count: int) -> Packed:
    order = np.lexsort((np.arange(len(wanted)), -np.abs(wanted)))  # of equal values, the first: no platform decides
    places = np.sort(order[:count]).astype("<u4")
    return Packed(
        kind=Kind.TOP_K, length=len(wanted), places=places.tobytes(), values=wanted[places].astype("<f4").tobytes()
    )


def _values(packed: Packed) -> Vector:
    if packed.kind is Kind.TOP_K:
        whole = np.zeros(packed.length, dtype=np.float32)
        whole[np.frombuffer(packed.places, dtype="<u4")] = np.frombuffer(packed.values, dtype="<f4")
        return whole
    scales = np.repeat(np.frombuffer(packed.scales, dtype="<f4"), BLOCK)[: packed.length]
    return np.asarray(np.frombuffer(packed.values, dtype=np.int8) * scales, dtype=np.float32)
