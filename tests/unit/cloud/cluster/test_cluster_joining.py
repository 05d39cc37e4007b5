"""What replicas are told, what they are called, and who is let into the directory."""

import pytest
from typer.testing import CliRunner

from cloud.cluster.joining import join, share_group
from cloud.cluster.settings import ClusterSettings
from cloud.devices.broker import AccessList, coordinators, render_access
from cloud.main import app
from cloud.serve import one_of, only_one
from cloud.settings import make_settings
from shared.clock import VirtualClock
from shared.errors import ContractError, RefusedError
from shared.ids import device_id
from shared.topics import Up, all_up, matches, shared_up, split_share


def told(directory, **cluster):
    return make_settings({"cluster": cluster} if cluster else {}, {}, directory=directory)


def replica(directory, name, **more):
    return told(directory, replicas=["a", "b"], replica=name, **more)


def test_one_coordinator_alone_shares_nothing_and_asks_nobody(tmp_path, database):
    alone = told(tmp_path)
    assert (alone.name, alone.coordinators) == ("coordinator", ["coordinator"])
    assert join(alone, database, VirtualClock()) is None
    assert share_group(alone) == ""
    assert shared_up(Up.WANT, group="") == all_up(Up.WANT)


def test_each_replica_has_a_name_of_its_own_that_no_device_may_carry(tmp_path):
    a = replica(tmp_path, "a")
    assert (a.name, a.coordinators) == ("coordinator-a", ["coordinator-a", "coordinator-b"])
    for name in (*a.coordinators, "coordinator", "coordinator-z"):
        with pytest.raises(ContractError):
            device_id(name)
    rules = render_access([], coordinators=coordinators(["a", "b"]))
    assert rules.count("topic readwrite hl/1/#") == 2
    assert "user coordinator-a\n" in rules
    assert "user coordinator\n" not in rules
    assert AccessList([])("coordinator-a", "write", "hl/1/blob/x/0")


def test_the_group_is_one_for_all_replicas_and_follows_from_a_secret(tmp_path):
    groups = []
    for secret in ("one", "other"):
        (tmp_path / secret / "superlink").mkdir(parents=True)
        (tmp_path / secret / "superlink" / "control-token").write_text(secret)
        groups.append([share_group(replica(tmp_path / secret, name)) for name in "ab"])
    assert groups[0][0] == groups[0][1] != groups[1][0]
    assert "one" not in groups[0][0]
    group, topic_filter = split_share(shared_up(Up.DRIFT, group=groups[0][0]))
    assert group == groups[0][0]
    assert matches(topic_filter, "hl/1/d/x/up/drift")


@pytest.mark.parametrize(
    "cluster",
    [
        {"replicas": ["a", "a"]},
        {"replicas": ["a"], "replica": "b"},
        {"replica": "a"},
        {"replicas": ["a"], "lease_s": 0.1},
        {"replicas": ["a"], "lease_s": float("nan")},
        {"replicas": ["a\nuser x"]},
    ],
)
def test_groups_that_make_no_sense_are_refused(tmp_path, cluster):
    with pytest.raises((RefusedError, ContractError)):
        told(tmp_path, **cluster)


def test_replicas_share_the_directory_and_nobody_else_enters(tmp_path):
    a, b = replica(tmp_path, "a"), replica(tmp_path, "b")
    nameless = told(tmp_path, replicas=["a", "b"])
    with one_of(a), one_of(b):
        for refused in (a, told(tmp_path), nameless):
            with pytest.raises(RefusedError), one_of(refused):
                raise AssertionError("not reached")
        with pytest.raises(RefusedError), only_one(a):
            raise AssertionError("not reached")
    with one_of(told(tmp_path)), pytest.raises(RefusedError), one_of(a):
        raise AssertionError("not reached")
    with one_of(a):
        pass


def test_the_default_is_one_coordinator(tmp_path):
    assert told(tmp_path).cluster == ClusterSettings() == ClusterSettings(replicas=[], replica="", lease_s=10.0)


def test_a_pod_that_starts_beside_others_leaves_a_complete_directory_alone(tmp_path):
    runner, init = CliRunner(), ["init", "--dir", str(tmp_path / "new"), "--unless-busy"]
    made = runner.invoke(app, init)
    assert (made.exit_code, "made: certificate authority" in made.output) == (0, True)
    held = make_settings({"cluster": {"replicas": ["a"], "replica": "a"}}, {}, directory=tmp_path / "new")
    with one_of(held):
        beside = runner.invoke(app, [*init, "--fleet", "more"])
        alone = runner.invoke(app, [*init[:-1], "--fleet", "more"])
    assert (beside.exit_code, alone.exit_code) == (0, 1)
    assert "nothing was done" in beside.output
    assert "made: fleet more" in runner.invoke(app, [*init, "--fleet", "more"]).output
