"""Laws of the high-water marks and of sealed slots."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import TrustError
from shared.trust import seal_slot, verify_slot
from shared.trust.marks import Marks
from shared.trust.store import seal, unseal
from tests.publishing import make_release

roles = st.sampled_from(["root", "timestamp", "fleet-lab"])
steps = st.lists(st.tuples(roles, st.integers(0, 5)), max_size=30)


def climb(marks, history):
    for role, version in history:
        try:
            marks = marks.raise_version(role, keys="k", version=version)
        except TrustError:
            assert version < marks.versions[f"{role}@k"]
    return marks


@given(steps)
def test_a_mark_is_the_highest_version_ever_accepted(history):
    marks = climb(Marks(), history)
    for role in {role for role, _ in history}:
        assert marks.versions.get(f"{role}@k", 0) == max(version for name, version in history if name == role)


@given(steps, steps)
def test_merging_is_an_upper_bound_and_does_not_mind_order(one, two):
    left, right = climb(Marks(), one), climb(Marks(), two)
    assert left.merge(right) == right.merge(left) == climb(left, two).merge(left)
    assert left.merge(left) == left


@given(steps)
def test_marks_survive_their_disk(history):
    marks = climb(Marks(), history)
    assert unseal(seal(marks)) == marks


@given(st.binary(max_size=300))
def test_foreign_bytes_are_no_marks(data):
    assert unseal(data) is None


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=1, max_size=64), place=st.integers(0, 10**6), bit=st.integers(0, 7))
@example(data=bytes(10), place=986, bit=0)  # the format's digit, which nothing else depends on
def test_any_flipped_bit_of_a_slot_is_found(data, place, bit):
    with tempfile.TemporaryDirectory() as name:
        slot = Path(name)
        (slot / "cpu-int8.onnx").write_bytes(data)
        release = make_release(1, data=data)
        assert seal_slot(slot, release=release, variant=release.variants[0]).release == release
        files = sorted(slot.iterdir())
        file = files[place % len(files)]
        content = bytearray(file.read_bytes())
        content[place % len(content)] ^= 1 << bit
        file.write_bytes(bytes(content))
        with pytest.raises(TrustError):
            verify_slot(slot)
