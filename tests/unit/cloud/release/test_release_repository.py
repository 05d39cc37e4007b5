import contextlib
import shutil

import pytest
from tuf.api.metadata import Metadata

from cloud.release import MemoryKeys, Repository
from cloud.release.roles import DAY
from shared import durable
from shared.bundle import FleetDesired
from shared.errors import FaultError, RefusedError
from tests.publishing import FLEET, Publisher, accept, make_release


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


def signed(publisher, name):
    return Metadata.from_bytes(publisher.files()[f"metadata/{name}.json"]).signed


def test_role_table(publisher):
    root, targets = signed(publisher, "1.root"), signed(publisher, "2.targets")
    said = {name: (len(role.keyids), role.threshold) for name, role in root.roles.items()}
    assert said == {"root": (3, 2), "targets": (2, 1), "snapshot": (1, 1), "timestamp": (1, 1)}
    roles = targets.delegations.roles
    delegated = {name: (role.paths, role.threshold, role.terminating) for name, role in roles.items()}
    assert delegated == {
        "releases": (["releases/*/*"], 1, True),
        "fleet-lab": (["fleets/lab/*"], 1, True),
    }
    keys = [keyid for role in [*root.roles.values(), *targets.delegations.roles.values()] for keyid in role.keyids]
    assert len(keys) == len(set(keys)) == 9
    assert root.consistent_snapshot
    assert root.unrecognized_fields["x-tenant"] == "demo"
    assert list(publisher.repository.model_keys()) == ["model-signing"]  # of none of the roles, so none ships alone
    assert root.unrecognized_fields["x-model-keys"] == publisher.repository.model_keys()


def test_lifetimes(publisher):
    files = {
        "1.root": 365,
        "2.targets": 180,
        "1.releases": 30,
        "1.fleet-lab": 7,
        "2.snapshot": 7,
        "timestamp": 1,
    }
    days = {name: (signed(publisher, name).expires.timestamp() - publisher.clock.at) / DAY for name in files}
    assert days == files


def test_published_in_an_order_that_no_reader_can_trip_over(publisher):
    publisher.ship(1)
    names = [name for name, _ in publisher.repository.files()]
    assert names[0] == "metadata/1.root.json"
    assert names[-1] == "metadata/timestamp.json"
    kinds = ["targets/" if name.startswith("targets/") else name.split(".")[-2] for name in names[1:-1]]
    assert list(dict.fromkeys(kinds)) == ["targets/", "fleet-lab", "releases", "targets", "snapshot"]


def test_old_versions_are_pruned_and_current_ones_are_whole(publisher, tmp_path):
    for counter in range(1, 8):
        publisher.ship(counter)
    files = publisher.files()
    for role in ("releases", "fleet-lab", "snapshot"):
        assert sum(name.endswith(f".{role}.json") for name in files) == 3
    on_disk = {str(path.relative_to(publisher.directory)) for path in publisher.directory.rglob("*.json")}
    assert on_disk == set(files)
    assert accept(publisher.device(tmp_path / "device", files)).id == "activity-7"


def test_a_device_in_mid_refresh_still_finds_its_snapshot(publisher, tmp_path):
    publisher.ship(1)
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    client.refresh()
    publisher.ship(2)
    later = publisher.files()
    files.clear()
    files.update(later)
    assert client.desired(FLEET).default == {"activity": "activity-1"}


def test_signing_the_same_again_does_nothing(publisher):
    release = publisher.ship(1)
    before = publisher.repository.timestamp_version
    publisher.repository.publish_release(release)
    publisher.repository.set_desired(publisher.repository.desired(FLEET))
    publisher.repository.add_fleet(FLEET)
    assert publisher.repository.timestamp_version == before


def test_what_is_published(publisher):
    publisher.ship(1)
    publisher.ship(4)
    publisher.ship(1, model="fashion")
    assert publisher.repository.releases() == ["activity-1", "activity-4", "fashion-1"]
    assert publisher.repository.fleets() == [FLEET]


@pytest.mark.parametrize("counter", [1, 2])
def test_counters_only_grow(publisher, counter):
    publisher.ship(2)
    with pytest.raises(RefusedError, match="does not follow activity-2"):
        publisher.repository.publish_release(make_release(counter, data=b"other"))


def test_desired_states_name_published_releases_of_known_fleets(publisher):
    with pytest.raises(RefusedError, match="not published: activity-9"):
        publisher.repository.set_desired(FleetDesired(fleet=FLEET, devices={"wrist-1": {"activity": "activity-9"}}))
    with pytest.raises(RefusedError, match="no fleet"):
        publisher.repository.set_desired(FleetDesired(fleet="yard"))
    publisher.repository.set_desired(FleetDesired(fleet=FLEET, default={"activity": ""}))


def test_reopening(publisher, tmp_path):
    publisher.ship(1)
    again = Repository.open(publisher.directory, keys=publisher.keys, clock=publisher.clock)
    assert again.files() == publisher.repository.files()
    with pytest.raises(RefusedError, match="already"):
        Repository.create(publisher.directory, keys=publisher.keys, tenant="demo", clock=publisher.clock)
    with pytest.raises(RefusedError, match="no repository"):
        Repository.open(tmp_path / "none", keys=publisher.keys, clock=publisher.clock)


def test_the_keys_of_another_repository_sign_nothing(publisher, tmp_path):
    other = Publisher(tmp_path / "other")
    mixed = Repository.open(publisher.directory, keys=other.keys, clock=publisher.clock)
    before = publisher.files()
    with pytest.raises(RefusedError, match="may sign"):
        mixed.publish_release(make_release(1))
    assert publisher.files() == before


def test_releases_need_no_offline_key(publisher):
    for name in ("root-1", "root-2", "root-3", "targets-1", "targets-2"):
        publisher.keys.remove(name)
    publisher.ship(1)
    with pytest.raises(RefusedError, match="is not here"):
        publisher.repository.add_fleet("yard")


def test_renewal(publisher, tmp_path):
    publisher.ship(1)
    assert publisher.repository.renew() == ([], [])
    publisher.clock.advance(0.6 * DAY)
    assert publisher.repository.renew().signed == ["timestamp"]
    publisher.clock.advance(3 * DAY)
    assert set(publisher.repository.renew().signed) == {"snapshot", "timestamp", "fleet-lab"}
    publisher.keys.remove("targets-1")
    publisher.keys.remove("targets-2")
    publisher.clock.advance(100 * DAY)
    renewal = publisher.repository.renew()
    assert renewal.waiting == ["targets"]
    assert set(renewal.signed) == {"snapshot", "timestamp", "releases", "fleet-lab"}
    assert accept(publisher.device(tmp_path / "device", publisher.files())).id == "activity-1"


def test_issue_times_never_go_back(publisher):
    publisher.ship(1)
    before = signed(publisher, "timestamp").unrecognized_fields["x-issued"]
    publisher.clock.advance(-DAY)
    publisher.ship(2)
    assert signed(publisher, "timestamp").unrecognized_fields["x-issued"] == before == int(publisher.clock.at + DAY)


class PowerCutError(Exception):
    """The process dies here."""


def test_a_crash_at_every_write_leaves_the_old_or_the_new_state(publisher, tmp_path, monkeypatch):
    publisher.ship(1)
    stored = tmp_path / "before"
    shutil.copytree(publisher.directory, stored)
    replace = durable._replace
    outcomes = []
    for stop in range(12):
        shutil.rmtree(publisher.directory)
        shutil.copytree(stored, publisher.directory)
        left = [stop]

        def dying(path, data, mode, left=left):
            if not left[0]:
                raise PowerCutError("power")
            left[0] -= 1
            replace(path, data, mode)

        monkeypatch.setattr(durable, "_replace", dying)
        with contextlib.suppress(PowerCutError):
            publisher.ship(2)
        monkeypatch.setattr(durable, "_replace", replace)
        reopened = Repository.open(publisher.directory, keys=publisher.keys, clock=publisher.clock)
        client = publisher.device(tmp_path / f"device-{stop}", dict(reopened.files()))
        outcomes.append(accept(client).id)
        publisher.ship(2)  # the next attempt succeeds, whatever lies around
        assert accept(publisher.device(tmp_path / f"device-{stop}", publisher.files())).id == "activity-2"
    assert set(outcomes) == {"activity-1", "activity-2"}
    assert outcomes == sorted(outcomes)


def test_a_crash_while_it_is_made(tmp_path, monkeypatch):
    keys, clock = MemoryKeys(), Publisher(tmp_path / "other").clock
    replace = durable._replace

    def dying(path, data, mode):
        if path.name == "1.snapshot.json":
            raise PowerCutError("power")
        replace(path, data, mode)

    monkeypatch.setattr(durable, "_replace", dying)
    with pytest.raises(PowerCutError):
        Repository.create(tmp_path / "r", keys=keys, tenant="demo", clock=clock)
    monkeypatch.setattr(durable, "_replace", replace)
    assert not Repository.exists(tmp_path / "r")
    assert Repository.create(tmp_path / "r", keys=keys, tenant="demo", clock=clock).timestamp_version == 1


def test_a_missing_file_is_named(publisher):
    (publisher.directory / "metadata/2.targets.json").unlink()
    with pytest.raises(FaultError, match=r"lacks metadata/2\.targets\.json"):
        publisher.repository.renew()
