"""What a device tells about its activations so that a model can be quantised: two numbers per tensor, never data.

The coordinator sends a float model whose outputs are the least and the greatest value of each activation
(`cloud.models.calibrate`); a device runs it on its own examples with ONNX Runtime alone, merges its batches and
sends the ranges; the coordinator merges those of all devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

Range = tuple[float, float]
"""Least and greatest value seen, both finite."""

LEAST, GREATEST = "least:", "greatest:"
"""Prefixes of the calibration graph's outputs; the activation's name follows."""

STRETCH = 4.0
"""How far beyond the median device one device may stretch a range: without a bound, a single hostile pair of
numbers makes the steps of all 256 levels so wide that nothing is left of the model."""


def read_ranges(names: Sequence[str], values: Sequence[NDArray[np.float32]]) -> dict[str, Range]:
    """Ranges from one run of the calibration graph: its output names and what `session.run(None, …)` returned.

    Raises:
        ContractError: an activation was not finite, or has only one end.
    """
    ends = {name: float(value) for name, value in zip(names, values, strict=True)}
    lows = {name.removeprefix(LEAST): value for name, value in ends.items() if name.startswith(LEAST)}
    highs = {name.removeprefix(GREATEST): value for name, value in ends.items() if name.startswith(GREATEST)}
    if lows.keys() != highs.keys():
        raise ContractError("these are no outputs of a calibration graph: an end is missing")
    return check_ranges({name: (low, highs[name]) for name, low in lows.items()})


def check_ranges(ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return `ranges` if every pair is finite and in order.

    Raises:
        ContractError: one is not.
    """
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ContractError(f"{name[:80]!r} cannot range from {low} to {high}")
    return dict(ranges)


def widen(batches: Iterable[Mapping[str, Range]]) -> dict[str, Range]:
    """Range over all batches of one device.

    Raises:
        ContractError: there is no batch, or two speak of different activations.
    """
    pairs = _by_tensor(batches)
    return {name: (min(low for low, _ in ends), max(high for _, high in ends)) for name, ends in pairs.items()}


def merge_ranges(devices: Sequence[Mapping[str, Range]]) -> dict[str, Range]:
    """Range over all devices, each end at most `STRETCH` times as far from zero as the median device reaches.

    The order of the devices does not matter.

    Raises:
        ContractError: there is none, two speak of different activations, or a range is none.
    """
    pairs = _by_tensor(check_ranges(ranges) for ranges in devices)
    return {name: _merge(ends) for name, ends in pairs.items()}


def _merge(ends: Sequence[Range]) -> Range:
    bound = STRETCH * median(max(abs(low), abs(high)) for low, high in ends)
    return max(min(low for low, _ in ends), -bound), min(max(high for _, high in ends), bound)


def _by_tensor(parts: Iterable[Mapping[str, Range]]) -> dict[str, list[Range]]:
    pairs: dict[str, list[Range]] = {}
    for index, part in enumerate(parts):
        if index and part.keys() != pairs.keys():
            odd = sorted(part.keys() ^ pairs.keys())
            raise ContractError(f"calibration disagrees on the activations: {', '.join(name[:80] for name in odd[:5])}")
        for name, ends in part.items():
            pairs.setdefault(name, []).append(ends)
    if not pairs:
        raise ContractError("no calibration ranges came")
    return pairs
