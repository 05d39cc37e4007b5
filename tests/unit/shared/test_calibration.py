import math

import numpy as np
import pytest

from shared.calibration import STRETCH, merge_ranges, read_ranges, widen
from shared.errors import ContractError


def test_outputs_of_the_graph_become_ranges() -> None:
    names = ["least:a", "greatest:a", "greatest:b", "least:b"]
    values = [np.float32(value) for value in (-1, 2, 4, 3)]
    assert read_ranges(names, values) == {"a": (-1.0, 2.0), "b": (3.0, 4.0)}


@pytest.mark.parametrize("values", [(math.nan, 1.0), (0.0, math.inf), (2.0, 1.0)])
def test_what_is_no_range_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ContractError):
        read_ranges(["least:a", "greatest:a"], [np.float32(value) for value in values])
    with pytest.raises(ContractError):
        merge_ranges([{"a": values}])


def test_a_missing_end_is_refused() -> None:
    with pytest.raises(ContractError):
        read_ranges(["least:a"], [np.float32(0)])


def test_batches_of_one_device_widen() -> None:
    assert widen([{"a": (-1.0, 1.0)}, {"a": (-0.5, 3.0)}]) == {"a": (-1.0, 3.0)}


def test_honest_devices_are_covered_whole() -> None:
    devices = [{"a": (-1.0, 1.0)}, {"a": (-3.0, 0.5)}, {"a": (-0.5, 3.5)}]
    assert merge_ranges(devices) == {"a": (-3.0, 3.5)} == merge_ranges(devices[::-1])


def test_one_device_cannot_stretch_a_range_at_will() -> None:
    honest = [{"a": (-1.0, 2.0)}] * 4
    assert merge_ranges([*honest, {"a": (-1e30, 1e30)}]) == {"a": (-2.0 * STRETCH, 2.0 * STRETCH)}


@pytest.mark.parametrize("devices", [[], [{}], [{"a": (0.0, 1.0)}, {"b": (0.0, 1.0)}], [{"a": (0.0, 1.0)}, {}]])
def test_devices_must_speak_of_the_same_activations(devices: list[dict[str, tuple[float, float]]]) -> None:
    with pytest.raises(ContractError):
        merge_ranges(devices)
