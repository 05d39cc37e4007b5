"""A thief signs with stolen keys what devices accept; the ceremony that answers it brings the devices back.

Each test has three parts: the theft works (the control: without it, nothing would be proven), the revocation ends it,
and what the thief signed is refused afterwards, by devices that had seen it and by those that lost their cache.
"""

import shutil

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from cloud.release.ceremonies import revoke, rotate
from shared.bundle import FleetDesired, encode
from shared.errors import TrustError
from shared.trust.admission import custom
from shared.trust.names import ISSUED, desired_path, manifest_path, variant_path
from tests.publishing import FLEET, Forger, Publisher, accept, make_release

HUGE = 2**40
"""Versions that ours will never reach."""

ONLINE = ["snapshot", "timestamp"]


@pytest.fixture
def publisher(tmp_path):
    made = Publisher(tmp_path / "repository")
    made.ship(1)
    return made


@pytest.fixture
def world(publisher, tmp_path):
    """A device that took the honest release, and the files it sees."""
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    accept(client)
    return publisher, client, files


def serve(files, others):
    files.clear()
    files.update(others)


def describe(data, version):
    return MetaFile.from_data(version, data, ["sha256"])


def sign_far_ahead(publisher, *stolen, role=None, alter=lambda forger, targets: None):
    """Everything the stolen keys can reach, under huge version numbers, far dates and a far issue time."""
    forger = Forger(publisher.files(), publisher.keys, *stolen)
    _, snapshot = forger.current("snapshot")
    if role:
        _, metadata = forger.current(role)
        metadata.signed.version = HUGE
        metadata.signed.expires = metadata.signed.expires.replace(year=2100)
        alter(forger, metadata.signed.targets)
        data = forger.sign(metadata)
        forger.files[f"metadata/{HUGE}.{role}.json"] = data
        snapshot.signed.meta[f"{role}.json"] = describe(data, HUGE)
    _, timestamp = forger.current("timestamp")
    if "snapshot" in stolen:
        snapshot.signed.version = HUGE
        snapshot.signed.expires = snapshot.signed.expires.replace(year=2100)
        data = forger.sign(snapshot)
        forger.files[f"metadata/{HUGE}.snapshot.json"] = data
        timestamp.signed.snapshot_meta = describe(data, HUGE)
    timestamp.signed.version = HUGE
    timestamp.signed.expires = timestamp.signed.expires.replace(year=2100)
    timestamp.signed.unrecognized_fields[ISSUED] = int(publisher.clock.at + 20 * 365 * 86_400)
    forger.files["metadata/timestamp.json"] = forger.sign(timestamp)
    return forger.files


def assert_over(publisher, client, files, tmp_path, evil):
    """Devices are back at what the publisher says, and stay there."""
    publisher.ship(2)
    serve(files, publisher.files())
    assert accept(client).id == "activity-2"
    serve(files, evil)
    shutil.rmtree(tmp_path / "device" / "metadata")
    with pytest.raises(TrustError):
        accept(client)
    with pytest.raises(TrustError):
        accept(publisher.device(tmp_path / "device", files))
    serve(files, publisher.files())
    assert accept(client).id == "activity-2"


def test_stolen_timestamp_key(world, tmp_path):
    publisher, client, files = world
    evil = sign_far_ahead(publisher, "timestamp")
    serve(files, evil)
    client.refresh()
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()  # our own timestamps are older now, and everything of ours has expired
    revoke(publisher.repository, ["timestamp"])
    assert_over(publisher, client, files, tmp_path, evil)


def test_stolen_snapshot_key_alone_reaches_nobody(world):
    publisher, client, files = world
    evil = sign_far_ahead(publisher, "snapshot")
    serve(files, evil)
    with pytest.raises(TrustError):
        client.refresh()
    revoke(publisher.repository, ["snapshot"])
    serve(files, publisher.files())
    assert accept(client).id == "activity-1"


def test_stolen_snapshot_and_timestamp_keys(world, tmp_path):
    publisher, client, files = world
    evil = sign_far_ahead(publisher, *ONLINE)
    serve(files, evil)
    client.refresh()
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()
    revoke(publisher.repository, ONLINE)
    assert_over(publisher, client, files, tmp_path, evil)


def wish(release):
    """Have the fleet want `release`."""

    def alter(forger, targets):
        data = encode(FleetDesired(fleet=FLEET, default={"activity": release}))
        targets[desired_path(FLEET)] = TargetFile.from_data(desired_path(FLEET), data, ["sha256"])
        forger.target(desired_path(FLEET), data)

    return alter


def test_stolen_fleet_key(world, tmp_path):
    """It may ask for another signed release; one that is older than what ran is refused even so."""
    publisher, client, files = world
    evil = sign_far_ahead(publisher, *ONLINE, "fleet-lab", role="fleet-lab", alter=wish(""))
    serve(files, evil)
    client.refresh()
    assert client.desired(FLEET).default == {"activity": ""}  # the damage: this fleet's devices stop
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()
    outcome = revoke(publisher.repository, ["fleet-lab"])
    assert [made.role for made in outcome.replaced] == ["fleet-lab", *ONLINE]
    assert_over(publisher, client, files, tmp_path, evil)


def test_stolen_fleet_key_before_the_roots_keys_are_at_hand(world, tmp_path):
    """The targets key alone ends what it could sign; devices that saw its huge version wait for the root's keys."""
    publisher, client, files = world
    evil = sign_far_ahead(publisher, *ONLINE, "fleet-lab", role="fleet-lab", alter=wish(""))
    serve(files, evil)
    client.refresh()
    client.desired(FLEET)
    away = {name: publisher.keys.signer(name) for name in ("root-1", "root-2", "root-3")}
    for name in away:
        publisher.keys.remove(name)
    assert revoke(publisher.repository, ["fleet-lab"]).remembered
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()
    assert accept(publisher.device(tmp_path / "new", publisher.files())).id == "activity-1"
    publisher.keys._signers.update(away)
    revoke(publisher.repository, ONLINE)
    assert_over(publisher, client, files, tmp_path, evil)


def test_stolen_releases_key_with_all_that_is_online(world, tmp_path):
    """A stolen coordinator. Its thief ships; the offline keys end it, and the honest line goes on."""
    publisher, client, files = world
    other = make_release(1, model="fashion", data=b"evil")

    def ship(forger, targets):
        data = encode(other)
        line = {"custom": {"counter": 1, "model": "fashion"}}
        target = TargetFile.from_data(manifest_path(other.id), data, ["sha256"])
        target.unrecognized_fields.update(line)
        targets[manifest_path(other.id)] = target
        forger.target(manifest_path(other.id), data)
        for variant in other.variants:
            path = variant_path(other.id, variant.name)
            said = {"custom": custom(other, variant)}
            targets[path] = TargetFile(variant.size, {"sha256": variant.digest}, path, said)

    evil = sign_far_ahead(publisher, *ONLINE, "releases", role="releases", alter=ship)
    serve(files, evil)
    client.refresh()
    assert client.release(other.id) == other
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()
    revoke(publisher.repository, ["releases", "fleet-lab", *ONLINE])
    assert_over(publisher, client, files, tmp_path, evil)
    with pytest.raises(TrustError, match="not signed"):
        client.release(other.id)


def test_stolen_targets_key_with_all_that_is_online(world, tmp_path):
    publisher, client, files = world
    evil = sign_far_ahead(publisher, *ONLINE, "targets-1", role="targets")
    serve(files, evil)
    client.refresh()
    serve(files, publisher.files())
    with pytest.raises(TrustError):
        client.refresh()
    revoke(publisher.repository, ["targets-1"])
    assert_over(publisher, client, files, tmp_path, evil)


def test_one_stolen_root_key_is_none_any_more(world):
    """One of three signs nothing; with a second one it would have, and after its revocation it does not."""
    publisher, client, files = world
    late = Forger(publisher.files(), publisher.keys, "root-1", "root-2")
    revoke(publisher.repository, ["root-1"])
    revoke(publisher.repository, ["timestamp"])
    serve(files, publisher.files())
    assert accept(client).id == "activity-1"
    _, root = late.current("root")
    root.signed.version = 4
    serve(files, {**publisher.files(), "metadata/4.root.json": late.sign(root)})
    with pytest.raises(TrustError):
        client.refresh()
    serve(files, publisher.files())
    assert accept(client).id == "activity-1"
    control = Forger(publisher.files(), publisher.keys, "root-2", "root-4")
    root = Metadata.from_bytes(publisher.files()["metadata/3.root.json"])
    root.signed.version = 4
    serve(files, {**publisher.files(), "metadata/4.root.json": control.sign(root)})
    assert accept(client).id == "activity-1"


def test_the_root_rotated_three_times_while_a_device_was_away(world, tmp_path):
    publisher, client, files = world
    for _ in range(3):
        publisher.clock.advance(100 * 86_400)
        rotate(publisher.repository, ["root", "targets", "releases", "fleet-lab", *ONLINE])
    publisher.ship(2)
    newest = publisher.files()
    for version in (5, 9):  # the chain is taken whole or not at all
        serve(files, {name: data for name, data in newest.items() if name != f"metadata/{version}.root.json"})
        with pytest.raises(TrustError):
            client.refresh()
    serve(files, newest)
    assert accept(client).id == "activity-2"
    assert accept(publisher.device(tmp_path / "new", files)).id == "activity-2"
    assert client.marks.versions["root@any"] == 13


def test_zeroed_metadata_after_rotations(world, tmp_path):
    """The cache is fetched again, and what was valid before the rotations stays out."""
    publisher, client, files = world
    old = publisher.files()
    rotate(publisher.repository, ["root", "releases", *ONLINE])
    publisher.ship(2)
    serve(files, publisher.files())
    accept(client)
    kept = [path for path in (tmp_path / "device" / "metadata").rglob("*.json") if not path.is_symlink()]
    for path in kept:
        path.write_bytes(b"\0" * path.stat().st_size)
    serve(files, old)
    for device in (client, publisher.device(tmp_path / "device", files)):
        with pytest.raises(TrustError):
            accept(device)
    serve(files, publisher.files())
    assert accept(client).id == "activity-2"
    assert all(path.read_bytes()[:1] == b"{" for path in kept if path.exists())
