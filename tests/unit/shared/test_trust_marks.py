import pytest

from shared.errors import TrustError
from shared.trust.marks import Marks, key_set
from shared.trust.store import COPIES, MarkStore, seal, unseal
from tests.publishing import make_release


def test_versions_rise_and_never_fall():
    marks = Marks().raise_version("timestamp", keys="k", version=3)
    assert marks.raise_version("timestamp", keys="k", version=3) is marks
    with pytest.raises(TrustError, match="version 2 is older than version 3"):
        marks.raise_version("timestamp", keys="k", version=2)


def test_another_key_set_starts_anew():
    marks = Marks().raise_version("timestamp", keys="stolen", version=10**9)
    assert marks.raise_version("timestamp", keys="fresh", version=1).versions["timestamp@fresh"] == 1


def test_releases_rise_within_their_line():
    marks = Marks().raise_release(make_release(2))
    marks.check_release(make_release(1, model="fashion"))
    assert marks.raise_release(make_release(2)) is marks
    with pytest.raises(TrustError, match="older than activity-2"):
        marks.raise_release(make_release(1))
    with pytest.raises(TrustError, match="another content"):
        marks.raise_release(make_release(2, data=b"other"))


def test_time_never_reads_earlier_than_the_last_signature():
    marks = Marks().raise_issued(keys="k", at=1000).raise_issued(keys="k", at=900)
    assert marks.now(500.0, keys="k") == 1000.0
    assert marks.now(1500.0, keys="k") == 1500.0
    assert marks.now(500.0, keys="other") == 500.0


def test_key_set_names_keys_and_threshold():
    assert key_set(["a", "b"], 1) == key_set(["b", "a"], 1)
    assert len({key_set(["a", "b"], 1), key_set(["a", "b"], 2), key_set(["a"], 1), key_set(["a,b"], 1)}) == 4


@pytest.fixture
def marks():
    first = Marks().raise_version("root", keys="any", version=2)
    return first.raise_release(make_release(1)).raise_issued(keys="k", at=5)


def test_kept_on_disk(tmp_path, marks):
    MarkStore(tmp_path).save(marks)
    assert MarkStore(tmp_path).load() == marks


def test_a_new_device_has_none(tmp_path):
    assert MarkStore(tmp_path).load() == Marks()


def test_the_higher_of_two_copies_counts(tmp_path, marks):
    """A power cut between the two writes."""
    newer = marks.raise_version("root", keys="any", version=3).raise_release(make_release(2))
    (tmp_path / COPIES[0]).write_bytes(seal(newer))
    (tmp_path / COPIES[1]).write_bytes(seal(marks))
    assert MarkStore(tmp_path).load() == newer


@pytest.mark.parametrize("damage", [b"", b"\0" * 300, b"x", b"a" * 64 + b"\n{}"])
def test_one_damaged_copy_is_survived_and_two_are_noticed(tmp_path, marks, damage):
    store = MarkStore(tmp_path)
    store.save(marks)
    (tmp_path / COPIES[0]).write_bytes(damage)
    assert store.load() == marks
    (tmp_path / COPIES[1]).write_bytes(damage)
    with pytest.raises(TrustError, match="damaged"):
        store.load()


def test_a_removed_copy_is_survived(tmp_path, marks):
    store = MarkStore(tmp_path)
    store.save(marks)
    (tmp_path / COPIES[1]).unlink()
    assert store.load() == marks


def test_every_flipped_bit_is_noticed(marks):
    whole = seal(marks)
    assert unseal(whole) == marks
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1
        assert unseal(bytes(broken)) is None
