import shutil

import pytest
from tuf.api.metadata import Metadata

from cloud.release import Repository
from cloud.release.ceremonies import Replaced, revoke, rotate
from cloud.release.generations import key_names, successor
from shared import durable
from shared.errors import FaultError, RefusedError, TrustError
from tests.publishing import CPU, FLEET, Publisher, accept

ROLES = ["root", "targets", "releases", "fleet-lab", "snapshot", "timestamp"]
OFFLINE = ["root-1", "root-2", "root-3", "targets-1", "targets-2"]


@pytest.fixture
def publisher(tmp_path):
    made = Publisher(tmp_path / "repository")
    made.ship(1)
    return made


def names(publisher, role):
    heads = publisher.repository.heads()
    return list(key_names(heads.delegator(role), role))


def root(publisher, version):
    return Metadata.from_bytes(publisher.files()[f"metadata/{version}.root.json"])


ROOTS = {"root": 3, "targets": 1, "snapshot": 1, "timestamp": 1}
"""How many versions of the root a rotation makes."""


@pytest.mark.parametrize("roles", [*([role] for role in ROLES), ROLES], ids=[*ROLES, "all"])
def test_devices_follow_a_rotation_by_themselves(publisher, tmp_path, roles):
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    accept(client)
    before = {name for role in ROLES for name in names(publisher, role)}
    outcome = rotate(publisher.repository, roles)
    assert {made.role for made in outcome.replaced} == set(roles)
    files.clear()
    files.update(publisher.files())
    assert accept(client).id == "activity-1"
    assert client.marks.versions["root@any"] == (5 if roles == ROLES else 1 + ROOTS.get(roles[0], 0))
    publisher.ship(2)
    files.clear()
    files.update(publisher.files())
    for device in (client, publisher.device(tmp_path / "new", files)):
        assert accept(device).id == "activity-2"
    for made in outcome.replaced:
        assert made.old in before
        assert made.new not in before
        assert made.new in names(publisher, made.role)
        assert made.old not in names(publisher, made.role)


def test_the_old_keys_sign_nothing_afterwards(publisher, tmp_path):
    rotate(publisher.repository, ["releases", "fleet-lab", "snapshot", "timestamp"])
    for name in ("releases", "fleet-lab", "snapshot", "timestamp"):
        publisher.keys.remove(name)
    publisher.ship(2)
    publisher.clock.advance(20 * 86_400)
    assert "releases" in publisher.repository.renew().signed
    assert accept(publisher.device(tmp_path / "device", publisher.files())).id == "activity-2"


def test_names_of_keys_are_in_signed_metadata_and_never_come_twice(publisher):
    assert names(publisher, "root") == ["root-1", "root-2", "root-3"]
    rotate(publisher.repository, ["root"])
    rotate(publisher.repository, ["targets", "releases", "fleet-lab"])
    assert names(publisher, "root") == ["root-4", "root-5", "root-6"]
    assert names(publisher, "targets") == ["targets-3", "targets-4"]
    assert rotate(publisher.repository, ["releases"]).replaced == [Replaced("releases", "releases-2", "releases-3")]
    assert rotate(publisher.repository, ["fleet-lab"]).replaced == [Replaced("fleet-lab", "f2-lab", "f3-lab")]
    again = Repository.open(publisher.directory, keys=publisher.keys, clock=publisher.clock)
    assert list(key_names(again.heads().targets.signed, "releases")) == ["releases-3"]


def test_the_second_key_of_a_fleet_is_not_the_first_key_of_another():
    assert successor("fleet-lab", taken=[]) != "fleet-lab-2"
    assert successor("f2-lab", taken=[]) == "f3-lab"
    assert successor("root-2", taken=["root-1", "root-2", "root-7"]) == "root-8"
    assert successor("releases", taken=[]) == "releases-2"
    assert successor("f" * 56, taken=[]) == "f" * 56 + "-2"


def test_every_root_is_signed_by_the_thresholds_before_and_after(publisher):
    rotate(publisher.repository, ["root"])
    for version in (2, 3, 4):
        before, after = root(publisher, version - 1), root(publisher, version)
        for by in (before.signed, after.signed):
            by.verify_delegate("root", after.signed_bytes, after.signatures)
        assert len(set(before.signed.roles["root"].keyids) & set(after.signed.roles["root"].keyids)) == 2


def test_a_stolen_root_key_signs_not_even_its_own_end(publisher):
    stolen = key_names(root(publisher, 1).signed, "root")["root-2"]
    outcome = revoke(publisher.repository, ["root-2"])
    assert outcome.replaced == [Replaced("root", "root-2", "root-4")]
    assert stolen not in root(publisher, 2).signatures
    assert stolen not in root(publisher, 2).signed.keys


def test_a_lost_root_key_is_replaced_with_the_help_of_the_stolen_one(publisher):
    publisher.keys.remove("root-3")
    assert revoke(publisher.repository, ["root-3"]).replaced == [Replaced("root", "root-3", "root-4")]
    assert names(publisher, "root") == ["root-1", "root-2", "root-4"]


def test_too_few_root_keys(publisher):
    publisher.keys.remove("root-1")
    publisher.keys.remove("root-3")
    before = publisher.files()
    with pytest.raises(RefusedError, match="too few keys of root are here: it takes 2 of root-1, root-2, root-3"):
        rotate(publisher.repository, ["timestamp"])
    assert publisher.files() == before
    assert not publisher.keys.holds("timestamp-2")
    for name in OFFLINE:
        publisher.keys.remove(name)
    with pytest.raises(RefusedError, match="too few keys of targets"):
        revoke(publisher.repository, ["releases"])
    assert not publisher.keys.holds("releases-2")


def test_a_model_key_is_rotated_with_an_overlap_and_revoked_at_once(publisher, tmp_path):
    files = publisher.files()
    client = publisher.device(tmp_path / "device", files)
    accept(client)
    pems = [publisher.repository.model_keys()]
    assert rotate(publisher.repository, ["model-signing"]).replaced == [
        Replaced("model-signing", "", "model-signing-2")
    ]
    assert pems[0].items() <= publisher.repository.model_keys().items()
    files.update(publisher.files())
    assert accept(client).id == "activity-1"  # the key that vouches for it is still there
    outcome = rotate(publisher.repository, ["model-signing"])
    assert outcome.replaced == [Replaced("model-signing", "model-signing", "model-signing-3")]
    assert list(outcome.signed) == ["root", "timestamp"]
    assert list(publisher.repository.model_keys()) == ["model-signing-2", "model-signing-3"]
    revoke(publisher.repository, ["model-signing-2"])
    assert list(publisher.repository.model_keys()) == ["model-signing-3", "model-signing-4"]
    with pytest.raises(RefusedError, match="no role has a key 'model-signing-2'"):
        revoke(publisher.repository, ["model-signing-2"])
    files.update(publisher.files())
    client.refresh()
    assert client.model_keys() == publisher.repository.model_keys()
    with pytest.raises(TrustError, match="by a key that this tenant's root does not name"):
        client.admit(client.release("activity-1"), **CPU)


def test_revoking_takes_along_what_remembers_versions(publisher):
    outcome = revoke(publisher.repository, ["releases"])
    assert [made.new for made in outcome.replaced] == ["releases-2", "snapshot-2", "timestamp-2"]
    assert not outcome.remembered
    assert list(outcome.signed) == ["root", "releases", "targets", "snapshot", "timestamp"]


def test_without_the_roots_keys_a_releases_key_is_still_revoked_at_once(publisher, tmp_path):
    for name in ("root-1", "root-2", "root-3", "targets-2"):
        publisher.keys.remove(name)
    outcome = revoke(publisher.repository, ["releases"])
    assert [made.new for made in outcome.replaced] == ["releases-2"]
    assert outcome.remembered
    assert accept(publisher.device(tmp_path / "device", publisher.files())).id == "activity-1"


def test_which_key_is_meant(publisher):
    with pytest.raises(RefusedError, match="root has 3 keys"):
        revoke(publisher.repository, ["root"])
    with pytest.raises(RefusedError, match="no role has a key 'root-9'"):
        revoke(publisher.repository, ["root-9"])
    with pytest.raises(RefusedError, match="no role 'nothing'"):
        rotate(publisher.repository, ["nothing"])
    revoke(publisher.repository, ["releases"])
    assert revoke(publisher.repository, ["releases"]).replaced[0] == Replaced("releases", "releases-2", "releases-3")
    assert rotate(publisher.repository, []).replaced == []


def test_a_repository_from_before_keys_had_names(tmp_path, monkeypatch):
    monkeypatch.setattr("cloud.release.repository.named", lambda key, name: key)
    old = Publisher(tmp_path / "repository")
    monkeypatch.undo()
    old.ship(1)
    assert all("x-name" not in key.unrecognized_fields for key in old.repository.heads().root.signed.keys.values())
    files = old.files()
    client = old.device(tmp_path / "device", files)
    accept(client)
    old.repository.add_fleet("yard")
    assert revoke(old.repository, ["root-1"]).replaced[0].new == "root-4"
    assert names(old, "root") == ["root-2", "root-3", "root-4"]
    rotate(old.repository, ["targets", "releases", "fleet-lab", "fleet-yard"])
    old.ship(2)
    files.clear()
    files.update(old.files())
    assert accept(client).id == "activity-2"


def test_the_clocks_floor_starts_anew_with_a_timestamp_key(publisher):
    publisher.clock.advance(86_400.0 * 300)
    publisher.repository.renew()
    publisher.clock.advance(-86_400.0 * 300)  # the coordinator's clock had been wrong
    assert publisher.repository.heads().timestamp.signed.unrecognized_fields["x-issued"] > publisher.clock.at
    rotate(publisher.repository, ["timestamp"])
    assert publisher.repository.heads().timestamp.signed.unrecognized_fields["x-issued"] == int(publisher.clock.at)


def test_a_new_root_is_published_at_once(publisher):
    before = publisher.repository.timestamp_version
    rotate(publisher.repository, ["root"])
    assert publisher.repository.timestamp_version == before + 1


class PowerCutError(Exception):
    """The process dies here."""


CEREMONIES = {
    "rotate everything": lambda repository: rotate(repository, ROLES),
    "revoke what is online": lambda repository: revoke(repository, ["releases", "fleet-lab", "snapshot", "timestamp"]),
    "revoke a root key": lambda repository: revoke(repository, ["root-1"]),
    "rotate releases": lambda repository: rotate(repository, ["releases"]),
}


@pytest.mark.parametrize("ceremony", CEREMONIES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_write_the_repository_is_the_old_or_the_new_one(
    publisher, tmp_path, monkeypatch, ceremony, after
):
    stored = tmp_path / "before"
    shutil.copytree(publisher.directory, stored)
    old, replace, outcomes = publisher.repository.heads(), durable._replace, []
    for stop in range(100):
        shutil.rmtree(publisher.directory)
        shutil.copytree(stored, publisher.directory)
        files = publisher.files()
        client = publisher.device(tmp_path / f"device-{stop}", files)
        accept(client)
        left = [stop]

        def dying(path, data, mode, left=left):
            if not left[0] and after:
                replace(path, data, mode)
            if not left[0]:
                raise PowerCutError("power")
            left[0] -= 1
            replace(path, data, mode)

        monkeypatch.setattr(durable, "_replace", dying)
        try:
            CEREMONIES[ceremony](publisher.repository)
        except PowerCutError:
            done = False
        else:
            done = True
        monkeypatch.setattr(durable, "_replace", replace)
        reopened = Repository.open(publisher.directory, keys=publisher.keys, clock=publisher.clock)
        now = reopened.heads()
        outcomes.append(sorted(role for role in ROLES if keys_of(now, role) != keys_of(old, role)))
        files.clear()
        files.update(dict(reopened.files()))
        assert accept(client).id == "activity-1"
        assert not (publisher.directory / ".journal").exists()
        if done:
            break
    new = outcomes[-1]
    assert new
    assert outcomes[0] == (new if after else [])  # the journal, written first, is the commit
    assert all(outcome == new for outcome in outcomes[1:])
    assert len(outcomes) > 3


def keys_of(heads, role):
    return key_names(heads.delegator(role), role)


def test_a_full_disk_changes_nothing(publisher, monkeypatch):
    before = publisher.files()

    def full(path, data, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_replace", full)
    with pytest.raises(FaultError, match="No space left"):
        rotate(publisher.repository, ["releases", "timestamp"])
    monkeypatch.undo()
    assert publisher.files() == before
    publisher.ship(2)
    assert publisher.repository.desired(FLEET).default == {"activity": "activity-2"}
