import os
import stat

import pytest

from shared import durable
from shared.errors import FaultError


@pytest.fixture
def steps(monkeypatch):
    """The order of what reaches the disk."""
    seen = []
    fsync = os.fsync

    def spy(descriptor):
        seen.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", spy)
    return seen


def test_file_then_directory(tmp_path, steps):
    durable.write_atomic(tmp_path / "x", b"1")
    assert steps == ["file", "directory"]
    assert (tmp_path / "x").read_bytes() == b"1"


def test_new_parents_are_durable_in_theirs(tmp_path, steps):
    durable.write_atomic(tmp_path / "a" / "b" / "x", b"1")
    assert steps == ["directory", "directory", "file", "directory"]


def test_mode(tmp_path):
    durable.write_atomic(tmp_path / "key", b"1", mode=0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_failing_disk_keeps_the_old_bytes_and_leaves_nothing_behind(tmp_path, monkeypatch):
    durable.write_atomic(tmp_path / "x", b"old")

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(FaultError, match="Input/output error"):
        durable.write_atomic(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_a_file_where_a_directory_should_be(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(FaultError):
        durable.write_atomic(tmp_path / "x" / "y", b"1")


def test_read_if_present(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert durable.read_if_present(tmp_path / "x") == b"1"
    assert durable.read_if_present(tmp_path / "y") is None
    assert durable.read_if_present(tmp_path / "x" / "y") is None
    for odd in (tmp_path / "link", tmp_path):
        with pytest.raises(FaultError):
            durable.read_if_present(odd)
