"""Another passphrase, whatever interrupts the change of it."""

import pytest

from cloud import keys as opening
from cloud.devices.authority import Authority
from cloud.keys import change_passphrase
from cloud.release import FileKeys, Sealer
from cloud.release import reseal as resealing
from cloud.settings import make_settings
from shared.durable import write_atomic
from shared.errors import FaultError, RefusedError

NAMES = ("releases", "snapshot", "timestamp")


@pytest.fixture
def settings(tmp_path):
    made = make_settings({}, {}, directory=tmp_path)
    made.layout.keys.mkdir()
    made.passphrase_file.write_text("old\n")
    keys = FileKeys(made.layout.keys, sealer=Sealer(b"old", cost=4))
    for name in NAMES:
        keys.ensure(name)
    keys.ensure("root-1", offline=True)
    Authority.create(made.layout.authority, name="demo", sealer=Sealer(b"old", cost=4), at=1e9)
    return made


@pytest.fixture
def fresh(tmp_path):
    path = tmp_path / "new-passphrase"
    path.write_text("new\n")
    return path


def publics(settings, passphrase):
    sealer = Sealer(passphrase, cost=4)
    keys = FileKeys(settings.layout.keys, sealer=sealer)
    authority = Authority.open(settings.layout.authority, sealer=sealer).fingerprint
    return {name: keys.signer(name).public_key.keyid for name in (*NAMES, "root-1")}, authority


def test_every_sealed_file_opens_with_the_new_passphrase_only(settings, fresh):
    before = publics(settings, b"old")
    assert len(change_passphrase(settings, fresh)) == 5
    assert settings.passphrase_file.read_bytes().strip() == b"new"
    assert settings.passphrase_file.stat().st_mode & 0o777 == 0o600
    assert publics(settings, b"new") == before
    with pytest.raises(RefusedError):
        publics(settings, b"old")
    assert change_passphrase(settings, fresh) == []


@pytest.mark.parametrize("written", range(6))
def test_a_crash_at_any_write_is_finished_by_the_next_run(settings, fresh, monkeypatch, written):
    before, left = publics(settings, b"old"), [written]

    def until_the_crash(path, data, *, mode=0o644):
        if left[0] == 0:
            raise FaultError("the power went")
        left[0] -= 1
        write_atomic(path, data, mode=mode)

    with monkeypatch.context() as crash:
        for module in (resealing, opening):
            crash.setattr(module, "write_atomic", until_the_crash)
        with pytest.raises(FaultError):
            change_passphrase(settings, fresh)
    # the old passphrase is still where it was, so a second run can open what the first one left
    assert settings.passphrase_file.read_bytes().strip() == b"old"
    assert len(change_passphrase(settings, fresh)) == 5 - written
    assert publics(settings, b"new") == before


def test_a_file_that_opens_with_neither_stops_it_before_anything_changes(settings, fresh):
    FileKeys(settings.layout.keys, sealer=Sealer(b"third", cost=4)).ensure("zoo")
    held = {path: path.read_bytes() for path in settings.layout.directory.rglob("*.key")}
    with pytest.raises(RefusedError, match="zoo"):
        change_passphrase(settings, fresh)
    assert {path: path.read_bytes() for path in settings.layout.directory.rglob("*.key")} == held


@pytest.mark.parametrize("text", ["", "\n"])
def test_no_new_passphrase(settings, fresh, text):
    fresh.write_text(text)
    with pytest.raises(RefusedError, match="no new passphrase"):
        change_passphrase(settings, fresh)


def test_the_present_file_is_not_the_new_one(settings):
    with pytest.raises(RefusedError, match="present passphrase"):
        change_passphrase(settings, settings.passphrase_file)
