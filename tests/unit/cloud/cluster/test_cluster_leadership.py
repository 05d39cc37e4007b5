"""One leads, the others follow; what a former leader began is refused, in the database and on disk."""

import msgspec
import pytest

from cloud.audit.log import AuditLog
from cloud.cluster.leadership import Leadership
from cloud.cluster.lease import LOOP, FencedError, Holder
from cloud.loop.turn import Turn, in_thread
from cloud.release.files import RepositoryFiles
from cloud.store.events import Events
from cloud.store.leases import Leases
from shared.audit import verify
from shared.clock import VirtualClock

LEASE_S = 10.0


class Replica:
    """A process that may lead, with a clock of its own for its pauses."""

    def __init__(self, database, clock, name, incarnation="1"):
        self.leadership = Leadership(
            database, holder=Holder(replica=name, incarnation=incarnation), clock=clock, lease_s=LEASE_S
        )
        self.led = database.guarded(self.leadership.fence)

    def write(self, text):
        with self.led.write() as connection:
            Events(connection).add("test", "x", text, at=0.0)


@pytest.fixture
def clock():
    return VirtualClock(at=1_000.0)


@pytest.fixture
def pair(database, clock):
    return Replica(database, clock, "a"), Replica(database, clock, "b")


def texts(database):
    with database.read() as connection:
        return [event.text for event in Events(connection).after(0) if event.kind == "test"]


def kinds(database):
    with database.read() as connection:
        return [row.action for row in AuditLog(connection).rows()]


def test_the_first_leads_and_the_second_follows(pair):
    a, b = pair
    assert (a.leadership.turn(), b.leadership.turn()) == (True, False)
    assert (a.leadership.health, b.leadership.health) == ("ok: leads (token 1)", "ok: follows a")
    assert (a.leadership.begin(), b.leadership.begin()) == (True, False)


def test_a_renewed_lease_lasts_and_keeps_its_token(pair, clock):
    a, b = pair
    for _ in range(12):
        assert a.leadership.turn()
        clock.advance(LEASE_S / 4)
        assert not b.leadership.turn()
    assert a.leadership.health == "ok: leads (token 1)"


def test_a_silent_leader_is_followed_and_its_late_writes_are_refused(pair, clock, database):
    a, b = pair
    a.leadership.turn()
    a.leadership.begin()
    a.write("while it leads")
    clock.advance(LEASE_S)
    assert b.leadership.turn()
    b.leadership.begin()
    with pytest.raises(FencedError):
        a.write("too late")
    with pytest.raises(FencedError):
        a.leadership.check()
    b.write("of the new one")
    assert texts(database) == ["while it leads", "of the new one"]
    assert not a.leadership.lasts()
    assert not a.leadership.turn()
    assert kinds(database) == ["leader.taken", "leader.taken", "leader.stepped-down"]
    with database.read() as connection:
        assert verify(AuditLog(connection).rows()) is None
        assert Events(connection).after(0)[-1].text == "a steps down: it had token 1, b has 2"


def test_a_lease_that_ended_is_no_right_to_write_even_if_nobody_took_it(pair, clock, database):
    a, _ = pair
    a.leadership.turn()
    a.leadership.begin()
    clock.advance(LEASE_S)
    with pytest.raises(FencedError):
        a.write("late")
    assert a.leadership.turn()
    with pytest.raises(FencedError):
        a.write("begun under the old token")
    a.leadership.begin()
    a.write("under the new one")
    assert texts(database) == ["under the new one"]


def test_what_was_begun_before_another_led_stays_refused_when_the_first_leads_again(pair, clock, database):
    a, b = pair
    a.leadership.turn()
    a.leadership.begin()
    clock.advance(LEASE_S)
    b.leadership.turn()
    b.leadership.release()
    assert a.leadership.turn()
    with pytest.raises(FencedError):
        a.write("from two leaders ago")
    assert texts(database) == []


def test_a_process_started_anew_under_its_name_need_not_wait(database, clock):
    Replica(database, clock, "a", "1").leadership.turn()
    again = Replica(database, clock, "a", "2")
    assert again.leadership.turn()
    assert again.leadership.health == "ok: leads (token 2)"


def test_who_leaves_in_good_order_is_followed_at_once(pair):
    a, b = pair
    a.leadership.turn()
    a.leadership.release()
    assert b.leadership.turn()
    b.leadership.begin()
    b.write("at once")


def test_a_leader_that_was_frozen_knows_by_its_own_clock(pair, clock):
    a, _ = pair
    a.leadership.turn()
    a.leadership.begin()
    assert a.leadership.lasts()
    clock.advance(LEASE_S)
    assert not a.leadership.lasts()
    assert not a.leadership.begin()


def test_files_are_fenced_before_each_change(pair, clock, tmp_path):
    a, b = pair
    a.leadership.turn()
    a.leadership.begin()
    files = RepositoryFiles(tmp_path / "tuf", check=a.leadership.check)
    files.write("metadata/1.x.json", b"old")
    clock.advance(LEASE_S)
    b.leadership.turn()
    for change in (lambda: files.write("metadata/1.x.json", b"late"), lambda: files.remove("metadata/1.x.json")):
        with pytest.raises(FencedError):
            change()
    assert files.read("metadata/1.x.json") == b"old"


async def test_the_turn_stops_where_the_term_ends(pair, clock):
    a, b = pair
    taken = []

    def lose():
        taken.append("first")
        clock.advance(LEASE_S)
        b.leadership.turn()

    turn = Turn([("first", in_thread(lose)), ("second", in_thread(lambda: taken.append("second")))], term=a.leadership)
    await turn.reconcile_once()
    assert taken == []
    a.leadership.turn()
    await turn.reconcile_once()
    assert taken == ["first"]
    await turn.reconcile_once()
    assert taken == ["first"]
    assert turn.health == {"first": "ok", "second": "ok"}


async def test_a_step_that_the_fence_stops_is_no_alarm(pair, clock):
    a, _ = pair
    a.leadership.turn()

    def late():
        with a.led.write():
            raise AssertionError("not reached")

    def lose():
        with a.leadership._database.write() as connection:
            held = Leases(connection).find(LOOP)
            Leases(connection).put(msgspec.structs.replace(held, token=held.token + 1, replica="b"))

    turn = Turn([("lose", in_thread(lose)), ("late", in_thread(late))], term=a.leadership)
    await turn.reconcile_once()
    assert turn.health == {"lose": "ok", "late": "ok"}
