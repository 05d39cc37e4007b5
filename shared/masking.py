"""Integers that hide a vector: fixed-point numbers, masks out of seeds, and noise out of keys.

Secure aggregation adds integers modulo 2³² or 2⁶⁴, in which every wrap is exact, so masks cancel to the last bit
and the sum does not depend on the order of arrival. Flower's own helpers are not used for these two steps: its
`pseudo_rand_gen` folds a seed to 32 bits, which a laptop tries in minutes, and its `quantize` draws from numpy's
global generator, so that the same update would not give the same integers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from shared.errors import ContractError

Residues = NDArray[np.unsignedinteger[Any]]
"""Integers modulo 2³² (`uint32`) or 2⁶⁴ (`uint64`); numpy's unsigned arithmetic wraps silently, as wanted."""

WIDTHS: dict[int, np.dtype[Any]] = {32: np.dtype("<u4"), 64: np.dtype("<u8")}
"""Bits of the modulus → the type on the wire."""

STEPS = 1 << 15
"""Steps on either side of zero: 16 bits a value."""


def width_for(weight: int) -> int:
    """Bits of the modulus in which updates of a total `weight` cannot overflow.

    Raises:
        ContractError: none is wide enough.
    """
    for bits in sorted(WIDTHS):
        if weight * STEPS < 1 << (bits - 1):
            return bits
    raise ContractError(f"a total weight of {weight} fits into no modulus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The fixed-point numbers of a round: multiples of `step` from −`reach` to `reach`."""

    reach: float
    """Values beyond it are clipped."""

    bits: int
    """Of the modulus: 32 or 64."""

    @property
    def step(self) -> float:
        """Distance of two neighbours; rounding moves a value by at most half of it."""
        return self.reach / STEPS

    def quantise(self, values: NDArray[np.floating[Any]], weight: int) -> Residues:
        """`weight` times each value, as residues; rounding is to the nearest, so the same values give the same bits."""
        clipped = np.clip(values.astype(np.float64), -self.reach, self.reach)
        whole = np.rint(clipped / self.step).astype(np.int64) * weight
        residues: Residues = whole.astype(WIDTHS[self.bits])
        return residues

    def whole(self, total: Residues) -> NDArray[np.int64]:
        """The signed integers of a sum of residues."""
        signed: NDArray[np.int64] = total.view(total.dtype.str.replace("u", "i")).astype(np.int64)
        return signed


def mask(seed: bytes, purpose: str, length: int, bits: int) -> Residues:
    """`length` residues out of a secret: AES-256 in counter mode, keyed by a hash of `seed` and `purpose`."""
    width = WIDTHS[bits]
    residues: Residues = np.frombuffer(_stream(seed, purpose, length * width.itemsize), dtype=width)
    return residues


def gaussian(seed: bytes, purpose: str, length: int) -> NDArray[np.float64]:
    """`length` independent standard normal values out of a secret (Box and Muller, 1958).

    Uniforms have 53 bits and never are 0, so no value lies beyond 8.6; of an ideal normal one in 10¹⁷ does.
    """
    pairs = (length + 1) // 2
    words = np.frombuffer(_stream(seed, purpose, 16 * pairs), dtype="<u8")
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 1.0) / float(1 << 53)
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:pairs])), 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:length]


def _stream(seed: bytes, purpose: str, size: int) -> bytes:
    # each key serves one purpose of one round and makes one stream, so the counter may begin at zero
    key = hashlib.sha256(len(seed).to_bytes(4, "big") + seed + purpose.encode()).digest()
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))
