"""`hinterland trust` on a coordinator's directory."""

import fcntl
import json
import threading

import pytest
from typer.testing import CliRunner

from cloud.audit.log import AuditLog
from cloud.layout import Layout
from cloud.release import FileKeys, Repository, Sealer
from cloud.release.commands import app
from cloud.release.exclusive import Exclusive
from cloud.settings import read_settings
from cloud.setup import open_state
from shared.bundle import FleetDesired
from shared.clock import SystemClock, VirtualClock
from shared.errors import RefusedError
from shared.trust import DirectorySource, TrustClient

RUN = CliRunner()


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("HINTERLAND_DIR", "HINTERLAND_SECRETS_PASSPHRASE_FILE", "HINTERLAND_STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "coordinator"


@pytest.fixture
def stick(tmp_path):
    return tmp_path / "stick"


@pytest.fixture
def trust(place, stick):
    """Run a command with the stick plugged in, or without."""

    def run(*arguments, code=0, plugged=True):
        where = ["--dir", str(place), *(["--offline-dir", str(stick)] if plugged else [])]
        done = RUN.invoke(app, [*arguments, *where])
        assert done.exit_code == code, done.output
        return done.output

    return run


@pytest.fixture
def made(trust, place):
    trust("init", "--tenant", "acme", "--fleet", "lab")
    open_state(read_settings(place, {})).close()  # as `hinterland-coordinator init` would
    return place


def audit(place):
    database = open_state(read_settings(place, {}))
    with database.read() as connection:
        rows = AuditLog(connection).rows()
    database.close()
    return rows


def test_offline_keys_are_never_on_the_coordinators_machine(made, stick):
    assert {path.stem for path in stick.glob("*.key")} == {"root-1", "root-2", "root-3", "targets-1", "targets-2"}
    keys = {path.stem for path in Layout(made).keys.rglob("*.key")}
    assert keys == {"releases", "snapshot", "timestamp", "fleet-lab", "model-signing"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in stick.iterdir())


def test_an_existing_directory_gives_its_offline_keys_away(trust, place, stick):
    trust("init", "--fleet", "lab", plugged=False)
    assert len(list((Layout(place).keys / "offline").glob("*.key"))) == 5
    assert "carried to" in trust("init")
    assert not list((Layout(place).keys / "offline").glob("*.key"))
    assert len(list(stick.glob("*.key"))) == 5
    trust("rotate", "root", "targets")
    trust("init")  # again, with nothing to do


def test_another_tenants_directory(trust, made):
    assert "is the directory of acme" in trust("init", "--tenant", "rival", code=1)
    assert "does not name these fleets" in trust("init", "--fleet", "yard", code=1)


def test_status(trust, made):
    roles = {role["role"]: role for role in json.loads(trust("status", "--json"))}
    assert set(roles) == {"root", "targets", "snapshot", "timestamp", "releases", "fleet-lab", "model-signing"}
    assert roles["root"]["threshold"] == 2
    assert roles["root"]["days_left"] == pytest.approx(365, abs=0.1)
    assert {role["state"] for role in roles.values()} == {"good"}
    assert all(role["can_sign"] for role in roles.values())
    away = {role["role"]: role["can_sign"] for role in json.loads(trust("status", "--json", plugged=False))}
    assert {role for role, can in away.items() if not can} == {"root", "targets"}
    lines = trust("status", plugged=False).splitlines()
    assert any("root-1" in line and line.endswith(" away") for line in lines)
    assert any("releases" in line and line.endswith(str(Layout(made).keys)) for line in lines)


def test_status_of_what_has_expired(trust, place):
    trust("init", "--fleet", "lab", plugged=False)
    settings = read_settings(place, {})
    sealer = Sealer(settings.passphrase_file.read_bytes().strip())
    keys, long_ago = FileKeys(settings.layout.keys, sealer=sealer), VirtualClock()
    for path in (settings.layout.tuf / "metadata").iterdir():
        path.unlink()
    Repository.create(settings.layout.tuf, keys=keys, tenant="default", clock=long_ago).add_fleet("lab")
    expired = trust("status", code=1, plugged=False)
    assert "expired" in expired
    assert "signed again" in trust("renew", plugged=False)
    assert "expired" not in trust("status", plugged=False)


def test_rotation_and_revocation_are_on_record(trust, made):
    trust("rotate", "releases", "fleet-lab")
    trust("revoke", "root-2", "timestamp", "--reason", "laptop stolen")
    rotated, revoked = audit(made)
    assert (rotated.actor, rotated.action, rotated.subject) == ("host", "trust.rotate", "releases, fleet-lab")
    assert rotated.after["replaced"][1] == {"role": "fleet-lab", "old": "fleet-lab", "new": "f2-lab"}
    assert (revoked.action, revoked.reason) == ("trust.revoke", "laptop stolen")
    assert [made["new"] for made in revoked.after["replaced"]] == ["root-4", "timestamp-2"]


def test_a_revocation_needs_a_reason(trust, made):
    trust("revoke", "releases", code=2)
    assert "needs a reason" in trust("revoke", "releases", "--reason", " ", code=1)
    assert audit(made) == []


def test_without_the_stick(trust, made):
    said = trust("rotate", "root", code=1, plugged=False)
    assert "too few keys of root are here" in said
    assert "--offline-dir" in said
    assert audit(made) == []


def test_a_directory_that_is_none(trust):
    assert "hinterland-coordinator init" in trust("status", code=1, plugged=False)


def test_beside_a_running_coordinator(trust, made, tmp_path):
    """Its lock is held and its repository open: the ceremony goes in between, and the coordinator goes on with it."""
    settings = read_settings(made, {})
    keys = FileKeys(settings.layout.keys, sealer=Sealer(settings.passphrase_file.read_bytes().strip()))
    running = Repository.open(settings.layout.tuf, keys=keys, clock=SystemClock())
    with settings.layout.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trust("rotate", "releases", "fleet-lab", "snapshot", "timestamp")
        version = running.timestamp_version
        running.set_desired(FleetDesired(fleet="lab", default={"activity": ""}))
    assert running.timestamp_version == version + 1
    source, clock = DirectorySource(settings.layout.tuf), SystemClock()
    client = TrustClient(tmp_path / "device", root=running.root_bytes, source=source, clock=clock)
    client.refresh()
    assert client.desired("lab").default == {"activity": ""}


def test_a_repository_is_not_made_under_a_coordinator(trust, place):
    place.mkdir()
    with Layout(place).lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another coordinator works on" in trust("init", code=1)


def test_two_that_change_a_repository_take_turns(tmp_path):
    first, second = Exclusive(tmp_path), Exclusive(tmp_path, patience_s=0.1)
    with first, first:
        refused = []

        def other():
            try:
                with second:
                    pass
            except RefusedError as error:
                refused.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "another process changes" in refused[0]
    with second:
        pass
