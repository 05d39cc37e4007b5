import errno
import os
import stat
from random import Random

import pytest

from edge.update.slots import Slots
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.errors import ContractError, FaultError, TrustError
from shared.ids import sha256


def release_of(data, counter=1):
    variant = Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(data),
        size=len(data),
        chunks=split(data),
    )
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    return Release(
        id=f"activity-{counter}", model="activity", counter=counter, schema=schema, variants=[variant], created=1.0
    )


DATA = Random(1).randbytes(1000)


@pytest.fixture
def slots(tmp_path):
    return Slots(tmp_path, "activity")


def stage(slots, data, counter=1):
    release = release_of(data, counter)
    path = slots.incoming(release.variants[0])
    path.write_bytes(data)
    return slots.stage(path, release=release, variant=release.variants[0], keys={})


def test_a_new_model_has_nothing(slots, tmp_path):
    assert (slots.active(), slots.idle(), slots.candidates(), Slots.models(tmp_path)) == (None, "A", [], [])


def test_staging_and_committing_alternate(slots, tmp_path):
    taken = []
    for counter in (1, 2, 3):
        slot, fact = stage(slots, DATA + bytes([counter]), counter)
        slots.commit(slot)
        taken.append((slot, fact.release.counter))
    assert taken == [("A", 1), ("B", 2), ("A", 3)]
    assert slots.candidates() == ["A", "B"]
    assert slots.inspect("B", keys={}).release.counter == 2
    assert Slots.models(tmp_path) == ["activity"]


def test_what_a_slot_held_is_gone_once_it_is_tidied_or_filled_again(slots, tmp_path):
    for counter in (1, 2, 3):
        slots.commit(stage(slots, DATA + bytes([counter]), counter)[0])
    outgoing = tmp_path / "activity" / "outgoing"
    assert (outgoing / "cpu.onnx").read_bytes() == DATA + b"\1"
    assert slots.candidates() == ["A", "B"]
    stage(slots, DATA, 4)
    assert (outgoing / "cpu.onnx").read_bytes() == DATA + b"\2"
    slots.tidy()
    slots.tidy()
    assert not outgoing.exists()
    assert slots.inspect("A", keys={}).release.counter == 3


def test_staging_leaves_the_active_slot_alone(slots):
    slots.commit(stage(slots, DATA)[0])
    with pytest.raises(TrustError):
        stage_wrong(slots)
    assert slots.inspect("A", keys={}).path.read_bytes() == DATA
    assert slots.active() == "A"


def stage_wrong(slots):
    release = release_of(DATA, 2)
    path = slots.incoming(release.variants[0])
    path.write_bytes(b"something else")
    slots.stage(path, release=release, variant=release.variants[0], keys={})


def test_leftovers_of_any_kind_are_cleared(slots, tmp_path):
    directory = tmp_path / "activity"
    (directory / "A").mkdir(parents=True)
    (directory / "A" / "old").write_bytes(b"")
    (directory / "B").symlink_to(tmp_path)
    slots.commit(stage(slots, DATA)[0])
    slots.commit(stage(slots, DATA + b"2", 2)[0])
    assert slots.inspect("B", keys={}).release.counter == 2
    assert not (directory / "B").is_symlink()


def test_only_the_wanted_download_is_kept(slots):
    one, two = release_of(b"1").variants[0], release_of(b"2").variants[0]
    slots.incoming(one).write_bytes(b"half")
    assert slots.incoming(one).read_bytes() == b"half"
    slots.incoming(two)
    assert not slots.incoming(one).exists()


def test_names_cannot_leave_the_directory(tmp_path):
    with pytest.raises(ContractError):
        Slots(tmp_path, "../etc")


def test_a_place_that_cannot_be_prepared_is_a_fault(slots, tmp_path):
    (tmp_path / "activity").write_bytes(b"a file is in the way")
    with pytest.raises(FaultError):
        slots.incoming(release_of(DATA).variants[0])


@pytest.mark.parametrize("committed", [True, False])
def test_a_pointer_whose_directory_was_not_synced_points_back(slots, monkeypatch, committed):
    """The rename is there, but a power cut may undo it: whoever commits is told that it failed, and that must hold."""
    if committed:
        slots.commit(stage(slots, DATA)[0])
    before = slots.active()
    slot, _ = stage(slots, DATA + b"2", 2)
    sync, failed = os.fsync, []

    def failing_once(descriptor):
        if not failed and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            failed.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_once)
    with pytest.raises(FaultError, match="could not be written"):
        slots.commit(slot)
    assert failed
    assert slots.active() == before
