"""Altered, endless and re-signed files, with every key a thief may have but the one that would count."""

import shutil

import msgspec
import pytest
from tuf.api.metadata import MetaFile, TargetFile

from cloud.release import MemoryKeys, Repository
from shared.bundle import FleetDesired, encode
from shared.errors import TransportError, TrustError
from shared.trust.names import ISSUED, desired_path, manifest_path
from tests.publishing import CPU, FLEET, Forger, Publisher, accept, make_release


@pytest.fixture
def publisher(tmp_path):
    made = Publisher(tmp_path / "repository")
    made.ship(1)
    return made


@pytest.fixture
def refuse(publisher, tmp_path):
    """Assert that a device refuses forged files after it took the honest ones, and a new device does too."""

    def check(files, *, match=None):
        seen = publisher.files()
        client = publisher.device(tmp_path / "device", seen)
        accept(client)
        seen.clear()
        seen.update(files)
        for attempt in (client, client, publisher.device(tmp_path / "device", seen)):
            with pytest.raises(TrustError, match=match):
                accept(attempt)

    return check


def describe(data: bytes, version: int) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


def relink(forger: Forger, role: str, data: bytes, version: int) -> None:
    """Lead snapshot and timestamp to a forged role file, as far as the stolen keys carry."""
    forger.files[f"metadata/{version}.{role}.json"] = data
    _, snapshot = forger.current("snapshot")
    snapshot.signed.version += 1
    snapshot.signed.meta[f"{role}.json"] = describe(data, version)
    signed = forger.sign(snapshot)
    forger.files[f"metadata/{snapshot.signed.version}.snapshot.json"] = signed
    _, timestamp = forger.current("timestamp")
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta = describe(signed, snapshot.signed.version)
    forger.files["metadata/timestamp.json"] = forger.sign(timestamp)


@pytest.mark.parametrize("ending", ["manifest.json", "desired.json", ".releases.json", ".fleet-lab.json"])
@pytest.mark.parametrize("place", [0, 40, -3])
def test_one_flipped_byte(publisher, tmp_path, ending, place):
    files = publisher.files()
    assert accept(publisher.device(tmp_path / "honest", files)).id == "activity-1"
    for name in [name for name in files if name.endswith(ending)]:
        data = bytearray(files[name])
        data[place] ^= 1
        files[name] = bytes(data)
    with pytest.raises(TrustError):
        accept(publisher.device(tmp_path / "device", files))


def test_one_flipped_byte_in_top_level_metadata(publisher, tmp_path):
    for name in ("metadata/timestamp.json", "metadata/2.targets.json"):
        files = publisher.files()
        data = bytearray(files[name])
        data[len(data) // 2] ^= 1
        files[name] = bytes(data)
        with pytest.raises(TrustError):
            accept(publisher.device(tmp_path / name.replace("/", "-"), files))


def test_endless_data(publisher, tmp_path):
    files = publisher.files()
    files["metadata/timestamp.json"] += b" " * (1 << 20)
    with pytest.raises(TrustError, match="more than the signers"):
        publisher.device(tmp_path / "device", files).refresh()


def test_truncated_data(publisher, tmp_path):
    files = publisher.files()
    for name in files:
        if name.endswith("manifest.json"):
            files[name] = files[name][:-1]
    client = publisher.device(tmp_path / "device", files)
    client.refresh()
    with pytest.raises(TrustError):
        client.release("activity-1")


def test_deeply_nested_json(publisher, tmp_path):
    files = publisher.files()
    files["metadata/timestamp.json"] = b"[" * 15_000
    with pytest.raises(TrustError):
        publisher.device(tmp_path / "device", files).refresh()


def test_stolen_timestamp_and_snapshot_keys_change_no_targets(publisher, refuse):
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot")
    _, releases = forger.current("releases")
    evil = make_release(2, data=b"evil")
    releases.signed.version += 1
    releases.signed.targets[manifest_path(evil.id)] = TargetFile.from_data(manifest_path(evil.id), encode(evil))
    forger.target(manifest_path(evil.id), encode(evil))
    relink(forger, "releases", forger.sign(releases), releases.signed.version)
    refuse(forger.files)


def test_stolen_timestamp_and_snapshot_keys_roll_no_role_back(publisher, refuse):
    """They may point to old, well-signed metadata of another role; its own mark refuses it."""
    old = publisher.files()
    publisher.ship(2)
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot")
    relink(forger, "releases", old["metadata/2.releases.json"], 2)
    refuse(forger.files)


def test_stolen_timestamp_and_snapshot_keys_roll_no_role_back_after_cache_loss(publisher, tmp_path):
    old = publisher.files()
    publisher.ship(2)
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    accept(client)
    forger = Forger(files, publisher.keys, "timestamp", "snapshot")
    relink(forger, "fleet-lab", old["metadata/2.fleet-lab.json"], 2)
    files.update(forger.files)
    shutil.rmtree(tmp_path / "device" / "metadata")
    with pytest.raises(TrustError, match="fleet-lab version 2 is older"):
        accept(client)


def test_stolen_fleet_key_signs_no_release(publisher, refuse):
    """Neither under a release path in its own metadata, nor in the releases role's place."""
    evil = make_release(2, data=b"evil")
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot", "fleet-lab")
    _, fleet = forger.current("fleet-lab")
    wanted = encode(FleetDesired(fleet=FLEET, default={"activity": evil.id}))
    fleet.signed.version += 1
    for path, data in ((manifest_path(evil.id), encode(evil)), (desired_path(FLEET), wanted)):
        fleet.signed.targets[path] = TargetFile.from_data(path, data)
        forger.target(path, data)
    relink(forger, "fleet-lab", forger.sign(fleet), fleet.signed.version)
    refuse(forger.files, match="not signed by the role releases")


def test_stolen_releases_key_ships_nothing_by_itself(publisher, refuse):
    evil = make_release(2, data=b"evil")
    forger = Forger(publisher.files(), publisher.keys, "releases")
    _, releases = forger.current("releases")
    path = manifest_path(evil.id)
    releases.signed.version += 1
    releases.signed.targets[path] = TargetFile.from_data(path, encode(evil))
    forger.target(path, encode(evil))
    relink(forger, "releases", forger.sign(releases), releases.signed.version)
    refuse(forger.files)


def test_stolen_targets_key_names_no_files(publisher, refuse):
    """With the online keys too: it may delegate, and a rotation answers that, but it signs no release itself."""
    evil = make_release(2, data=b"evil")
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot", "targets-1")
    _, targets = forger.current("targets")
    path = manifest_path(evil.id)
    targets.signed.version += 1
    targets.signed.targets[path] = TargetFile.from_data(path, encode(evil))
    forger.target(path, encode(evil))
    relink(forger, "targets", forger.sign(targets), targets.signed.version)
    refuse(forger.files, match="which only its delegations may")


def test_one_stolen_root_key_rotates_nothing(publisher, refuse):
    forger = Forger(publisher.files(), publisher.keys, "root-1")
    _, root = forger.current("root")
    root.signed.version = 2
    forger.files["metadata/2.root.json"] = forger.sign(root)
    refuse(forger.files)


def test_two_root_keys_do(publisher, tmp_path):
    """The control: the threshold, and nothing else, refused above."""
    forger = Forger(publisher.files(), publisher.keys, "root-1", "root-3")
    _, root = forger.current("root")
    root.signed.version = 2
    forger.files["metadata/2.root.json"] = forger.sign(root)
    assert accept(publisher.device(tmp_path / "device", forger.files)).id == "activity-1"


def test_another_tenants_repository(publisher, tmp_path):
    other = Publisher(tmp_path / "other", tenant="rival")
    other.ship(1)
    with pytest.raises(TrustError):
        publisher.device(tmp_path / "device", other.files()).refresh()


def test_wrong_hardware(publisher, tmp_path):
    publisher.ship(2, hardware="sm87")
    client = publisher.device(tmp_path / "device", publisher.files())
    with pytest.raises(TrustError, match="made for onnxruntime on sm87"):
        accept(client)
    assert client.admit(client.release("activity-2"), **{**CPU, "hardware": {"cpu", "sm87"}})


def test_wrong_runtime(publisher, tmp_path):
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    with pytest.raises(TrustError, match="for this device"):
        client.admit(client.release("activity-1"), hardware={"cpu"}, runtimes=[])


def test_a_fleet_that_is_not_ours(publisher, tmp_path):
    publisher.repository.add_fleet("yard")
    client = publisher.device(tmp_path / "device", publisher.files())
    client.refresh()
    assert client.desired("yard").default == {}
    with pytest.raises(TrustError):
        client.desired("harbour")


def test_desired_state_signed_for_one_fleet_about_another(publisher, refuse):
    data = encode(FleetDesired(fleet="yard", default={"activity": "activity-1"}))
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot", "fleet-lab")
    _, fleet = forger.current("fleet-lab")
    fleet.signed.version += 1
    fleet.signed.targets[desired_path(FLEET)] = TargetFile.from_data(desired_path(FLEET), data)
    forger.target(desired_path(FLEET), data)
    relink(forger, "fleet-lab", forger.sign(fleet), fleet.signed.version)
    refuse(forger.files, match="about fleet")


def resign_releases(publisher, alter):
    """What a careless or hostile holder of the releases key would sign."""
    forger = Forger(publisher.files(), publisher.keys, "timestamp", "snapshot", "releases")
    _, releases = forger.current("releases")
    releases.signed.version += 1
    alter(forger, releases.signed.targets)
    relink(forger, "releases", forger.sign(releases), releases.signed.version)
    return forger.files


def test_manifest_that_contradicts_its_variants(publisher, refuse):
    def hardware(forger, targets):
        targets["releases/activity-1/cpu-int8.onnx"].unrecognized_fields["custom"]["hardware"] = ["sm87"]

    refuse(resign_releases(publisher, hardware), match="contradicts")


def test_manifest_whose_variant_is_not_signed(publisher, refuse):
    refuse(resign_releases(publisher, lambda _, t: t.pop("releases/activity-1/cpu-int8.onnx")), match="is not signed")


def test_one_counter_for_two_contents(publisher, refuse):
    def alter(forger, targets):
        evil = msgspec.structs.replace(make_release(1), created=2.5)
        targets[manifest_path(evil.id)] = TargetFile.from_data(manifest_path(evil.id), encode(evil))
        forger.target(manifest_path(evil.id), encode(evil))

    refuse(resign_releases(publisher, alter), match="another content")


def test_manifest_of_one_release_under_the_name_of_another(publisher, refuse):
    def alter(forger, targets):
        other = encode(make_release(7))
        targets[manifest_path("activity-1")] = TargetFile.from_data(manifest_path("activity-1"), other)
        forger.target(manifest_path("activity-1"), other)

    refuse(resign_releases(publisher, alter), match="is about 'activity-7'")


@pytest.mark.parametrize("issued", [-1, 10**12, "now", True, None, []])
def test_senseless_issue_times(publisher, tmp_path, issued):
    """A stolen timestamp key must not push the clock's floor past what it can sign anyway."""
    forger = Forger(publisher.files(), publisher.keys, "timestamp")
    _, timestamp = forger.current("timestamp")
    timestamp.signed.version += 1
    timestamp.signed.unrecognized_fields[ISSUED] = issued
    forger.files["metadata/timestamp.json"] = forger.sign(timestamp)
    with pytest.raises(TrustError):
        publisher.device(tmp_path / "device", forger.files).refresh()


def test_a_far_future_signed_by_a_stolen_timestamp_key_ends_with_its_rotation(publisher, tmp_path):
    year = 365 * 86_400
    forger = Forger(publisher.files(), publisher.keys, "timestamp")
    _, timestamp = forger.current("timestamp")
    timestamp.signed.version = 2_000_000
    timestamp.signed.expires = timestamp.signed.expires.replace(year=2027)
    timestamp.signed.unrecognized_fields[ISSUED] = int(publisher.clock.at) + year // 2
    forger.files["metadata/timestamp.json"] = forger.sign(timestamp)
    files = dict(forger.files)
    client = publisher.device(tmp_path / "device", files)
    client.refresh()
    with pytest.raises(TrustError):
        client.refresh()  # everything honest now reads as expired: the damage of that key
    files.clear()
    files.update(rotated_timestamp(publisher))
    assert accept(client).id == "activity-1"


def rotated_timestamp(publisher: Publisher) -> dict[str, bytes]:
    """A second root that names a new timestamp key, and what the new key signs."""
    forger = Forger(publisher.files(), publisher.keys, "root-1", "root-2")
    _, root = forger.current("root")
    fresh = publisher.keys.ensure("timestamp-2")
    root.signed.version = 2
    for keyid in list(root.signed.roles["timestamp"].keyids):
        root.signed.revoke_key(keyid, "timestamp")
    root.signed.add_key(fresh, "timestamp")
    forger.files["metadata/2.root.json"] = forger.sign(root)
    _, timestamp = forger.current("timestamp")
    forger.files["metadata/timestamp.json"] = Forger({}, publisher.keys, "timestamp-2").sign(timestamp)
    return forger.files


def test_a_repository_altered_on_disk_is_not_signed_again(publisher, tmp_path):
    path = publisher.directory / "metadata/2.releases.json"
    path.write_bytes(path.read_bytes().replace(b'"counter":1', b'"counter":9'))
    with pytest.raises(TrustError, match="altered on disk"):
        publisher.repository.publish_release(make_release(2))
    with pytest.raises(TrustError, match="altered on disk"):
        Repository.open(publisher.directory, keys=MemoryKeys(), clock=publisher.clock)


def test_a_source_that_says_nothing(publisher, tmp_path):
    with pytest.raises(TransportError):
        publisher.device(tmp_path / "device", {}).refresh()


def test_an_older_signed_file_put_in_place_of_a_newer_one_is_not_signed_again(publisher):
    publisher.ship(2)
    metadata = publisher.directory / "metadata"
    newer, older = metadata / "3.releases.json", metadata / "2.releases.json"
    newer.write_bytes(older.read_bytes())
    with pytest.raises(TrustError, match="altered on disk"):
        publisher.repository.publish_release(make_release(3))
