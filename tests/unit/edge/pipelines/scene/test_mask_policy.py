from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipelines.scene.masks import FrameMask
from edge.pipelines.scene.policy import MaskKeeper
from shared.errors import FaultError
from shared.masks import Mask

OWN, FLEETS, OURS = Mask(box=(0, 0, 0.1, 1)), Mask(box=(0, 0, 0.2, 1)), Mask(box=(0, 0, 0.3, 1))
POLICY = {"*": {"gate": [{"box": [0, 0, 0.2, 1]}]}, "cam-1": {"*": [{"box": [0, 0, 0.3, 1]}]}, "cam-2": 3}


def keeper(directory: Path) -> MaskKeeper:
    return MaskKeeper(directory / "policy" / "masks", device="cam-1")


def gate(held: MaskKeeper) -> FrameMask:
    return held.guard("gate", FrameMask([OWN]))


def test_a_policy_holds_at_once_and_after_a_start_without_a_link(tmp_path: Path) -> None:
    held = keeper(tmp_path)
    mask = gate(held)
    assert list(mask.masks) == [OWN]
    held.accept(POLICY)
    assert list(mask.masks) == list(gate(keeper(tmp_path)).masks) == [OWN, FLEETS, OURS]
    held.accept({})
    assert list(mask.masks) == list(gate(keeper(tmp_path)).masks) == [OWN]


def test_what_is_said_of_other_devices_is_not_kept(tmp_path: Path) -> None:
    keeper(tmp_path).accept(POLICY)
    assert b"cam-2" not in (tmp_path / "policy" / "masks").read_bytes()


@pytest.mark.parametrize(
    "policy", [[], "all", 3, {"*": 3}, {"*": {"gate": [{"circle": [1, 2]}]}}, {"cam-1": {"*": {}}}]
)
def test_a_policy_that_is_not_understood_withholds_all_frames_until_one_is(tmp_path: Path, policy: Any) -> None:
    held = keeper(tmp_path)
    mask = gate(held)
    held.accept(policy)
    assert mask.withholds
    assert gate(keeper(tmp_path)).withholds
    held.accept(POLICY)
    assert not mask.withholds


def test_a_fault_in_one_pipelines_part_leaves_the_others_alone(tmp_path: Path) -> None:
    held = keeper(tmp_path)
    held.accept({"*": {"gate": 3, "no such pipeline": [{"box": [0, 0, 1, 1]}]}})
    assert gate(held).withholds
    assert not held.guard("yard", FrameMask([])).withholds


@given(at=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_policy_that_rots_on_disk_withholds_all_frames(tmp_path_factory: Any, at: int, bit: int) -> None:
    directory = tmp_path_factory.mktemp("rot")
    keeper(directory).accept(POLICY)
    path = directory / "policy" / "masks"
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    assert gate(keeper(directory)).withholds


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: (path.unlink(), path.mkdir())])
def test_a_policy_that_cannot_be_read_withholds_all_frames(tmp_path: Path, damage: Any) -> None:
    keeper(tmp_path).accept(POLICY)
    damage(tmp_path / "policy" / "masks")
    assert gate(keeper(tmp_path)).withholds


def test_a_disk_that_takes_nothing_does_not_unmask(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("in the way")
    held = keeper(tmp_path)
    mask = gate(held)
    for _ in range(2):
        with pytest.raises(FaultError):
            held.accept(POLICY)
        assert list(mask.masks) == [OWN, FLEETS, OURS]
    (tmp_path / "policy").unlink()
    held.accept(POLICY)
    assert list(gate(keeper(tmp_path)).masks) == [OWN, FLEETS, OURS]
