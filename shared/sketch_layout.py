"""Proof that bytes are a well-formed KLL sketch, before the C++ reader sees them.

The reader of Apache DataSketches trusts the count and most of the level table (`kll_sketch_impl.hpp`,
`deserialize`), and a merge sizes its buffers by them: with 5.2.0, sketches with one to three changed bytes end the
process with a segmentation fault within 20,000 tries. Bytes from a device are therefore checked here first, field
by field, against what a true sketch can be.

Layout, little-endian: preamble ints u8, serial version u8, family u8, flags u8, k u16, m u8, unused u8;
then, unless empty or a single item, n u64, min k u16, levels u8, unused u8, one u32 offset a level, minimum
and maximum f32; then the retained items f32, level by level, each item of level h standing for 2^h values.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

K = 200
"""Accuracy parameter; every sketch of the system has the same, so that merging never loses accuracy."""

MAX_BYTES = 4096
"""Bytes; a sketch of 2^40 values takes less than 3,000."""

MAX_COUNT = 1 << 40
"""Values one sketch may claim to have seen."""

_M = 8  # least capacity of a level, fixed in the library
_FAMILY = 15
_EMPTY, _SORTED, _SINGLE = 1, 2, 4
_SHORT = struct.Struct("<BBBBHBB")
_FULL = struct.Struct("<QHBB")


def check_layout(data: bytes) -> None:
    """Return if `data` is a sketch that the C++ reader, and a later merge, can safely take.

    Raises:
        ContractError: it is not.
    """
    if not _SHORT.size <= len(data) <= MAX_BYTES:
        raise ContractError(f"no sketch: {len(data)} bytes")
    preamble, version, family, flags, k, m, _ = _SHORT.unpack_from(data)
    _require(family == _FAMILY and k == K and m == _M, "foreign parameters")
    _require(flags & ~(_EMPTY | _SORTED | _SINGLE) == 0, "unknown flags")
    if flags & _EMPTY:
        _require((preamble, version) == (2, 1) and not flags & _SINGLE, "bad preamble")
        _require(len(data) == _SHORT.size, "an empty sketch with a body")
    elif flags & _SINGLE:
        _require((preamble, version) == (2, 2), "bad preamble")
        _require(len(data) == _SHORT.size + 4, "a single item of another size")
        _require(bool(np.isfinite(np.frombuffer(data, "<f4", offset=_SHORT.size)[0])), "an item that is not finite")
    else:
        _require((preamble, version) == (5, 1), "bad preamble")
        _check_levels(data, level_zero_sorted=bool(flags & _SORTED))


def _check_levels(data: bytes, *, level_zero_sorted: bool) -> None:
    _require(len(data) >= _SHORT.size + _FULL.size, "a cut header")
    n, min_k, height, _ = _FULL.unpack_from(data, _SHORT.size)
    _require(1 < n <= MAX_COUNT and min_k == K, "a count or accuracy out of range")
    _require(1 <= height <= n.bit_length(), "more levels than the count can fill")
    start = _SHORT.size + _FULL.size
    _require(len(data) >= start + 4 * height + 8, "a cut level table")
    table = np.frombuffer(data, "<u4", count=height, offset=start).astype(np.int64)
    offsets = np.append(table, _capacity(height))
    sizes = np.diff(offsets)
    _require(bool((sizes >= 0).all()) and sizes[-1] > 0, "levels that overlap")
    _require(int((sizes << np.arange(height)).sum()) == n, "weights that do not add up to the count")
    values = np.frombuffer(data[start + 4 * height :], "<f4") if len(data) % 4 == 0 else np.empty(0, "<f4")
    _require(len(values) == 2 + sizes.sum(), "a body of another size than its levels")
    _check_items(values[2:], offsets - offsets[0], low=values[0], high=values[1], level_zero_sorted=level_zero_sorted)


def _check_items(
    items: NDArray[np.float32], offsets: NDArray[np.int64], *, low: float, high: float, level_zero_sorted: bool
) -> None:
    _require(bool(np.isfinite(items).all() and np.isfinite([low, high]).all()), "items that are not finite")
    _require(bool(low <= items.min() and items.max() <= high), "items outside minimum and maximum")
    first = 0 if level_zero_sorted else 1
    for start, stop in zip(offsets[first:-1], offsets[first + 1 :], strict=True):
        _require(bool((np.diff(items[start:stop]) >= 0).all()), "a level out of order")


def _capacity(height: int) -> int:
    """Items that a sketch of `height` levels has room for: k·(2/3)^depth a level, rounded, at least `_M`."""
    total = 0
    for depth in range(height):
        rounded = ((2 * K << depth) // 3**depth + 1) >> 1
        total += max(_M, rounded)
    return total


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ContractError(f"no sketch: {complaint}")
