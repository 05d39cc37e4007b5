"""What the trust client assumes of python-tuf's private parts, so that an upgrade which moves them is noticed."""

import inspect
import os
import stat

from tuf.ngclient import Updater

from shared import durable
from shared.trust import MemorySource
from shared.trust.session import Session
from tests.publishing import Publisher, accept


def test_the_overridden_parts_exist():
    assert list(inspect.signature(Updater._persist_file).parameters) == ["self", "filename", "data"]
    assert list(inspect.signature(Updater._load_root).parameters) == ["self"]
    assert Session._persist_file is not Updater._persist_file


def test_every_file_that_it_keeps_was_synced(tmp_path, monkeypatch):
    publisher = Publisher(tmp_path / "repository")
    publisher.ship(1)
    synced = set()
    fsync = os.fsync

    def spy(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            synced.add(status.st_ino)
        fsync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", spy)
    device = tmp_path / "device"
    accept(publisher.device(device, publisher.files()))
    kept = [path for path in device.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(kept) == 8  # root, timestamp, snapshot, targets, two delegated roles, two copies of the marks
    assert {path.stat().st_ino for path in kept} <= synced


def test_who_vouched_for_whom_is_on_record(tmp_path):
    publisher = Publisher(tmp_path / "repository")
    publisher.ship(1)
    session = Session(
        tmp_path / "cache",
        root=publisher.repository.root_bytes,
        source=MemorySource(publisher.files()),
        now=lambda _: publisher.clock.now(),
    )
    session.refresh()
    assert session.delegated() == []
    assert session.get_targetinfo("releases/activity-1/manifest.json") is not None
    (name, role, version), *others = session.delegated()
    assert (name, version, others) == ("releases", 2, [])
    assert role == session.targets.delegations.roles["releases"]


def test_the_given_clock_decides_about_expiry(tmp_path):
    publisher = Publisher(tmp_path / "repository")
    publisher.ship(1)
    session = Session(
        tmp_path / "cache",
        root=publisher.repository.root_bytes,
        source=MemorySource(publisher.files()),
        now=lambda root: publisher.clock.now() + root.version,
    )
    session.refresh()
    assert session._trusted_set.reference_time.timestamp() == publisher.clock.now() + 1
