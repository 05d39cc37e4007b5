"""A slot that somebody edited never serves."""

import os

import pytest

from shared.errors import TrustError
from shared.trust import seal_slot, verify_slot
from tests.publishing import MODEL_BYTES, make_release

MODEL = "cpu-int8.onnx"


@pytest.fixture
def slot(tmp_path):
    directory = tmp_path / "A"
    directory.mkdir()
    (directory / MODEL).write_bytes(MODEL_BYTES)
    release = make_release(1)
    seal_slot(directory, release=release, variant=release.variants[0])
    return directory


def altered(slot):
    (slot / MODEL).write_bytes(MODEL_BYTES[:-1] + b"!")


def rotten(slot):
    with (slot / MODEL).open("r+b") as file:
        file.seek(100)
        file.write(b"\0")


def truncated(slot):
    os.truncate(slot / MODEL, 100)


def grown(slot):
    (slot / MODEL).write_bytes(MODEL_BYTES + b"!")


def added(slot):
    (slot / "weights.bin").write_bytes(b"x")


def added_hidden(slot):
    (slot / ".x").write_bytes(b"x")


def added_directory(slot):
    (slot / "external").mkdir()


def removed(slot):
    (slot / MODEL).unlink()


def symlinked(slot):
    target = slot.parent / "elsewhere"
    (slot / MODEL).rename(target)
    (slot / MODEL).symlink_to(target)


def hard_linked(slot):
    (slot.parent / "elsewhere").hardlink_to(slot / MODEL)


def a_pipe(slot):
    (slot / MODEL).unlink()
    os.mkfifo(slot / MODEL)


def linked_seal(slot):
    target = slot.parent / "elsewhere"
    (slot / "slot.json").rename(target)
    (slot / "slot.json").symlink_to(target)


def no_seal(slot):
    (slot / "slot.json").unlink()


def zeroed_seal(slot):
    (slot / "slot.json").write_bytes(b"\0" * 100)


def no_manifest(slot):
    (slot / "manifest.json").unlink()


def altered_manifest(slot):
    path = slot / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"still", b"stoll"))


def seal_of_another(slot):
    path = slot / "slot.json"
    path.write_bytes(path.read_bytes().replace(b"activity-1", b"activity-9"))


def linked_directory(slot):
    slot.rename(slot.parent / "real")
    slot.symlink_to(slot.parent / "real")


def no_directory(slot):
    slot.rename(slot.parent / "real")


@pytest.mark.parametrize(
    "tamper",
    [
        altered,
        rotten,
        truncated,
        grown,
        added,
        added_hidden,
        added_directory,
        removed,
        symlinked,
        hard_linked,
        a_pipe,
        linked_seal,
        no_seal,
        zeroed_seal,
        no_manifest,
        altered_manifest,
        seal_of_another,
        linked_directory,
        no_directory,
    ],
    ids=lambda f: f.__name__,
)
def test_edited_slot(slot, tamper):
    fact = verify_slot(slot)
    assert (fact.release.id, fact.path.read_bytes()) == ("activity-1", MODEL_BYTES)
    tamper(slot)
    with pytest.raises(TrustError):
        verify_slot(slot)


def test_a_wrong_download_is_not_sealed(tmp_path):
    release = make_release(1)
    (tmp_path / MODEL).write_bytes(b"other")
    with pytest.raises(TrustError):
        seal_slot(tmp_path, release=release, variant=release.variants[0])


def test_a_missing_download_is_not_sealed(tmp_path):
    release = make_release(1)
    with pytest.raises(TrustError):
        seal_slot(tmp_path, release=release, variant=release.variants[0])
