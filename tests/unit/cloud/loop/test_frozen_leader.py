"""A leader frozen at any of its transactions, followed, and thawed: nothing it still wants to write is taken."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from cloud.audit.log import AuditLog
from cloud.cluster.leadership import Leadership
from cloud.cluster.lease import FencedError, Holder
from cloud.rollout.advance import RolloutState
from cloud.store.database import Database
from cloud.store.events import Events
from cloud.store.releases import Releases
from cloud.store.rollouts import Rollouts
from shared.audit import verify

LEASE_S = 10.0
RUN = "activity-run-1"


@dataclass(frozen=True)
class FreezingDatabase(Database):
    """Stands still before a transaction of its choice, while the world goes on."""

    fate: dict = field(default_factory=dict)

    @contextmanager
    def write(self):
        self.fate["seen"] = self.fate.get("seen", 0) + 1
        if self.fate["seen"] == self.fate["at"]:
            self.fate["meanwhile"]()
        with super().write() as connection:
            yield connection


def replica(database, clock, name):
    return Leadership(database, holder=Holder(replica=name, incarnation="1"), clock=clock, lease_s=LEASE_S)


def fenced(stations, leadership):
    """The same stations, signing behind the fence too."""
    signing = stations.repository.checked(leadership.check)
    return replace(
        stations,
        repository=signing,
        publication=replace(stations.publication, repository=signing),
        rollouts=replace(stations.rollouts, repository=signing),
    )


def story():
    """Acts of the world, with the coordinator's turns between them; each may be repeated."""
    turn = [lambda s: s.turn()]
    yield from turn * 3
    yield lambda s: s.play_job(RUN)
    yield from turn * 6
    yield lambda s: s.activate("watch-2", release="activity-1")
    yield from turn * 2
    yield lambda s: s.clock.advance(6)
    yield from turn * 3
    yield lambda s: s.activate("watch-1", "watch-3", release="activity-1")
    yield from turn * 2
    yield lambda s: s.clock.advance(6)
    yield from turn * 3


@pytest.mark.parametrize("at", range(1, 24, 2))
def test_frozen_at_any_transaction_the_story_ends_the_same(make_stations, database, at):
    clock = make_stations().clock
    a, b = replica(database, clock, "a"), replica(database, clock, "b")
    second = fenced(make_stations(database.guarded(b.fence)), b)
    refused = []

    def meanwhile():
        clock.advance(LEASE_S)
        assert b.turn()
        assert b.begin()
        second.settle(3)

    first = fenced(
        make_stations(FreezingDatabase(database.engine, {"at": at, "meanwhile": meanwhile}, guard=a.fence)), a
    )
    make_stations().order()
    leads = (a, first)
    for act in story():
        leadership, stations = leads
        assert leadership.turn()
        leadership.begin()
        try:
            act(stations)
        except FencedError as error:
            refused.append(error)
            leads = (b, second)
            act(second)
    assert len(refused) == (1 if first.database.fate["seen"] >= at else 0)
    with database.read() as connection:
        events = Events(connection).after(0)
        assert [row.id for row in Releases(connection).all()] == ["activity-1"]
        assert Rollouts(connection).get("activity-1-wards").state is RolloutState.DONE
        assert verify(AuditLog(connection).rows()) is None
        published = [row for row in AuditLog(connection).rows() if row.action == "release.publish"]
    assert [event.data["wave"] for event in events if event.kind == "rollout.wave"] == [0, 1]
    assert len(published) == 1
    assert second.jobs.started == [RUN]
    make_stations()  # opens the repository, and proves it whole
    assert second.repository.desired("wards").default == {"activity": "activity-1"}
