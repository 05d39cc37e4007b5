"""Rows 4 to 8 and 10: a disk that loses, alters, fills up or takes no more writes."""

from itertools import product

import pytest

from tests.fault import broken
from tests.fault.conftest import needs
from tests.fault.damage import Damage, after_damage, fill, on_a_full_disk, on_a_read_only_disk, take_inodes
from tests.fault.test_kills import SECOND, THIRD

pytestmark = pytest.mark.slow

AGAIN = "nothing new after a restart"
OLD, NOW = {"activity": "activity-1"}, {"activity": "activity-2"}
ACTIVE, IDLE = "models/activity/B/", "models/activity/A/"
SLOT = ("cpu.onnx", "manifest.json", "slot.json")


@pytest.fixture(scope="module")
def files(crew):
    """Relative paths of what a device at `AGAIN` keeps beside its slots."""
    device = crew.bases / "fresh-one-two"
    every = sorted(path.relative_to(device) for path in device.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path) for path in every if path.parts[0] != "models" or path.name == "active"]


def play(crew, story, damages, **more):
    each = [(*damage,) if isinstance(damage, tuple) else (damage,) for damage in damages]
    repeated = [[value] * len(each) for value in more.values()]
    return crew.each(after_damage, [story] * len(each), each, *repeated)


def test_an_undamaged_device_serves_what_it_served(crew):
    (told,) = crew.each(after_damage, [AGAIN], [()])
    assert told.start == told.end == NOW


@pytest.mark.parametrize("how", ["zeroed", "emptied", "removed", "0.5"])
def test_row_04_any_file_of_metadata_zeroed(crew, cases, files, how):
    told = play(crew, AGAIN, [Damage(path, how) for path in files])
    assert [(path, each.start, each.end) for path, each in zip(files, told, strict=True) if each.start != NOW] == (
        [("models/activity/active", {}, NOW)] if how == "removed" else []  # as before the first commit
    )
    assert {tuple(each.end.items()) for each in told} == {tuple(NOW.items())}
    cases(len(told))


@pytest.mark.parametrize("how", ["zeroed", "removed"])
def test_row_04_a_replay_is_refused_after_the_metadata_was_lost(crew, cases, files, how):
    cache = tuple(Damage(path, how) for path in files if path.startswith("trust/metadata"))
    one_mark = [Damage("trust/marks-1.json", how), Damage("trust/marks-2.json", how)]
    lost = [cache, *((*cache, mark) for mark in one_mark)]
    replayed = crew.each(after_damage, [AGAIN] * 3, lost, ["one"] * 3)
    assert [each.end for each in replayed] == [NOW] * 3
    assert all("is older than" in each.reasons("", "refused") for each in replayed)
    honest = crew.each(after_damage, [AGAIN] * 3, lost, ["three"] * 3)
    assert [each.end for each in honest] == [{"activity": "activity-3"}] * 3
    cases(len(replayed))


def test_row_04_with_both_marks_damaged_the_agent_serves_and_takes_nothing_until_it_is_enrolled_again(crew, cases):
    both = tuple(Damage(f"trust/marks-{copy}.json", "zeroed") for copy in (1, 2))
    cache = tuple(Damage(f"trust/metadata/{role}.json", "removed") for role in ("timestamp", "snapshot"))
    lost, states = [both, (*both, *cache)] * 2, ["one", "one", "three", "three"]
    told = crew.each(after_damage, [AGAIN] * 4, lost, states)
    assert [(each.start, each.end) for each in told] == [(NOW, NOW)] * 4
    assert all("high-water marks are damaged" in each.reasons("", "refused") for each in told)
    cases(len(told))


def rot(slot):
    return [Damage(slot + name, str(part / 16)) for name in SLOT for part in range(17)]


def test_row_05_bit_rot_in_the_active_slot(crew, cases):
    told = play(crew, AGAIN, rot(ACTIVE))
    assert [each.start for each in told] == [OLD] * len(told)
    assert [each.end for each in told] == [NOW] * len(told)
    assert all(each.reasons("activity-2", "rolled-back") for each in told)
    assert set().union(*(each.loaded for each in told)) <= crew.ground.digests
    cases(len(told))


def test_row_05_bit_rot_in_the_idle_slot_disturbs_nobody(crew, cases):
    told = play(crew, AGAIN, rot(IDLE))
    assert [(each.start, each.end) for each in told] == [(NOW, NOW)] * len(told)
    cases(len(told))


def test_without_the_digest_rot_would_be_loaded(crew):
    flips = [Damage(ACTIVE + "cpu.onnx", str(part / 16)) for part in range(17)]
    told = play(crew, AGAIN, flips, state="", broken=broken.no_digest)
    assert not set().union(*(each.loaded for each in told)) <= crew.ground.digests


def test_row_06_both_slots_bad(crew, cases):
    ways = [*product(SLOT, ("zeroed", "emptied", "removed", "0.9")), ("cpu.onnx", "added")]
    pairs = [(Damage(ACTIVE + a, how), Damage(IDLE + b, other)) for (a, how), (b, other) in product(ways, ways)]
    told = play(crew, AGAIN, pairs)
    assert [each.start for each in told] == [{}] * len(told)
    assert all(each.reasons("activity-2", "failed") for each in told)  # safe mode, and it says so
    assert [each.end for each in told] == [NOW] * len(told)
    cases(len(told))


@pytest.mark.parametrize("story", [SECOND, THIRD])
def test_row_07_the_disk_fills_up_in_mid_download(crew, cases, story):
    needs("mount", root=True)
    at = [-1, 0, 1, 2] if story == SECOND else [-1, 0]
    assert crew.each(on_a_full_disk, [story] * len(at), at, [fill] * len(at)) == [""] * len(at)
    cases(len(at))


@pytest.mark.parametrize("story", [SECOND, THIRD])
def test_row_08_inodes_are_exhausted(crew, cases, story):
    needs("mount", "mkfs.ext4", root=True)
    at = [-1, 0, 1, 2] if story == SECOND else [-1, 0]
    assert crew.each(on_a_full_disk, [story] * len(at), at, [take_inodes] * len(at)) == [""] * len(at)
    cases(len(at))


@pytest.mark.parametrize("story", [SECOND, THIRD])
def test_row_10_the_disk_becomes_read_only(crew, cases, story):
    needs("mount", "mkfs.ext4", "e2fsck", root=True)
    at = [-1, 0, 1, 2] if story == SECOND else [-1, 0]
    assert crew.each(on_a_read_only_disk, [story] * len(at), at) == [""] * len(at)
    cases(len(at))
