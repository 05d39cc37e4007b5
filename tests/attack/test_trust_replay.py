"""Old signed files are served again; a device that has seen newer ones says no."""

import shutil
from pathlib import Path

import pytest

from shared.bundle import FleetDesired
from shared.errors import TransportError, TrustError
from shared.trust import Expired
from tests.publishing import CPU, FLEET, Publisher, accept, make_release

DAY = 86_400.0


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


@pytest.fixture
def device(tmp_path):
    return tmp_path / "device"


def keep_cache(directory: Path) -> None:
    pass


def lose_cache(directory: Path) -> None:
    shutil.rmtree(directory / "metadata")


def zero_cache(directory: Path) -> None:
    for path in (directory / "metadata").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"\0" * path.stat().st_size)


def empty_cache(directory: Path) -> None:
    for path in (directory / "metadata").rglob("*.json"):
        if not path.is_symlink():
            path.write_bytes(b"")


DISASTERS = [keep_cache, lose_cache, zero_cache, empty_cache]


@pytest.mark.parametrize("disaster", DISASTERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_release_1_after_release_2(publisher, device, disaster, restarted):
    publisher.ship(1)
    old = publisher.files()
    files = dict(old)
    client = publisher.device(device, files)
    assert accept(client).id == "activity-1"
    publisher.ship(2)
    new = publisher.files()
    files.update(new)
    assert accept(client).id == "activity-2"

    disaster(device)
    files.clear()
    files.update(old)
    client = publisher.device(device, files) if restarted else client
    with pytest.raises(TrustError, match=r"older than|timestamp version"):
        client.refresh()
    with pytest.raises(TrustError, match="no fresh signed metadata"):
        client.desired(FLEET)

    files.clear()
    files.update(new)
    assert accept(client).id == "activity-2"


def test_without_the_marks_the_replay_would_work(publisher, device):
    """The control of the tests above: what refuses is the marks, and not something else."""
    publisher.ship(1)
    old = publisher.files()
    publisher.ship(2)
    files = publisher.files()
    accept(publisher.device(device, files))
    shutil.rmtree(device)
    assert accept(publisher.device(device, old)).id == "activity-1"


def test_damaged_marks_are_no_fresh_start(publisher, device):
    publisher.ship(1)
    files = publisher.files()
    accept(publisher.device(device, files))
    first, second = device / "marks-1.json", device / "marks-2.json"
    whole = first.read_bytes()
    first.write_bytes(b"\0" * len(whole))
    assert accept(publisher.device(device, files)).id == "activity-1"  # one whole copy is enough
    first.write_bytes(whole[:-1])
    second.write_bytes(b"")
    client = publisher.device(device, files)
    for _ in range(2):
        with pytest.raises(TrustError, match="damaged") as caught:
            client.refresh()
        assert caught.value.hint == "Enrol this device again."
        with pytest.raises(TrustError, match="no fresh signed metadata"):
            client.release("activity-1")
        with pytest.raises(TrustError, match="damaged"):
            client.remember(make_release(2))
    assert (first.read_bytes(), second.read_bytes()) == (whole[:-1], b""), "nothing is written over them"
    second.write_bytes(whole)
    assert accept(publisher.device(device, files)).id == "activity-1"


def test_damaged_marks_do_not_hide_the_keys_that_what_serves_is_proven_with(publisher, device):
    publisher.ship(1)
    client = publisher.device(device, publisher.files())
    accept(client)
    for copy in ("marks-1.json", "marks-2.json"):
        (device / copy).write_bytes(bytes(64))
    assert publisher.device(device, {}).model_keys() == client.model_keys() != {}


def test_old_fleet_metadata_under_new_names(publisher, device):
    """Mix and match: the fleet's old wish under the version number of the new one."""
    publisher.ship(1)
    old = publisher.files()
    publisher.ship(2)
    files = publisher.files()
    files["metadata/3.fleet-lab.json"] = old["metadata/2.fleet-lab.json"]
    client = publisher.device(device, files)
    client.refresh()
    with pytest.raises(TrustError):
        client.desired(FLEET)
    assert accept(publisher.device(device, publisher.files())).id == "activity-2"


def test_old_snapshot_with_new_timestamp(publisher, device):
    publisher.ship(1)
    old = publisher.files()
    publisher.ship(2)
    files = publisher.files()
    newest = max(int(name.split("/")[1].split(".")[0]) for name in files if name.endswith(".snapshot.json"))
    files[f"metadata/{newest}.snapshot.json"] = old[f"metadata/{newest - 2}.snapshot.json"]
    with pytest.raises(TrustError):
        publisher.device(device, files).refresh()


def test_withheld_metadata_expires_and_the_earlier_release_stays(publisher, device):
    """Freeze: updates stop, and nothing that was accepted is forgotten."""
    publisher.ship(1)
    files = publisher.files()
    client = publisher.device(device, files)
    release = accept(client)
    publisher.clock.advance(1.5 * DAY)
    with pytest.raises(Expired) as raised:
        client.refresh()
    assert raised.value.code == "expired"
    client.admit(release, **CPU)  # what serves may be started again
    publisher.repository.renew()
    files.update(publisher.files())
    assert accept(client) == release


def test_a_clock_set_back_does_not_thaw_expired_metadata(publisher, device):
    publisher.ship(1)
    old = publisher.files()
    publisher.clock.advance(3 * DAY)
    publisher.repository.renew()
    files = publisher.files()
    client = publisher.device(device, files)
    accept(client)
    issued = publisher.clock.at
    publisher.clock.at = 0.0  # 1970, as after a dead battery
    accept(client)  # the floor keeps the present metadata usable …
    publisher.clock.at = issued - 2.5 * DAY
    files.clear()
    files.update(old)
    shutil.rmtree(device / "metadata")
    with pytest.raises(Expired):  # … and the old metadata as expired as it was
        client.refresh()


def test_a_clock_far_ahead_stops_updates_and_recovers(publisher, device):
    publisher.ship(1)
    client = publisher.device(device, publisher.files())
    publisher.clock.advance(400 * DAY)
    with pytest.raises(Expired):
        client.refresh()
    publisher.clock.advance(-400 * DAY)
    assert accept(client).id == "activity-1"


def test_withheld_root_after_a_rotation(publisher, device):
    """The newest root is withheld after the cache is lost: the old root must not serve again."""
    publisher.ship(1)
    old = publisher.files()
    publisher.clock.advance(200 * DAY)
    assert "root" in publisher.repository.renew().signed
    files = publisher.files()
    client = publisher.device(device, files)
    accept(client)
    publisher.clock.advance(-200 * DAY)
    lose_cache(device)
    files.clear()
    files.update(old)
    with pytest.raises(TrustError):
        client.refresh()


def test_files_that_are_missing_are_no_reason_to_distrust(publisher, device):
    publisher.ship(1)
    files = publisher.files()
    files.pop("metadata/timestamp.json")
    client = publisher.device(device, files)
    with pytest.raises(TransportError):
        client.refresh()
    files.update(publisher.files())
    assert accept(client).id == "activity-1"


def test_lower_counter_under_fresh_metadata(publisher, device):
    """The fleet's key asks for the older release: signed, fresh, and still refused."""
    publisher.ship(1)
    publisher.ship(2)
    files = publisher.files()
    client = publisher.device(device, files)
    accept(client)
    publisher.repository.set_desired(FleetDesired(fleet=FLEET, default={"activity": "activity-1"}))
    files.update(publisher.files())
    client.refresh()
    older = client.release("activity-1")
    for step in (lambda: client.admit(older, **CPU), lambda: client.remember(older)):
        with pytest.raises(TrustError, match="older than activity-2"):
            step()
    again = client.release("activity-2")
    client.admit(again, **CPU)  # the same release again is no step back
