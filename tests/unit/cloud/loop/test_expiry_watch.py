import pytest

from cloud.loop.expiry import ExpiryWatch
from cloud.store.database import open_database, sqlite_url
from cloud.store.events import Events
from shared.errors import RefusedError
from tests.publishing import Publisher

DAY = 86_400.0
OFFLINE = ("root-1", "root-2", "root-3", "targets-1", "targets-2")


@pytest.fixture
def publisher(tmp_path):
    return Publisher(tmp_path / "repository")


@pytest.fixture
def watch(publisher, tmp_path):
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    yield ExpiryWatch(database=database, repository=publisher.repository, clock=publisher.clock)
    database.close()


def events(watch):
    with watch.database.read() as connection:
        return [(event.kind, event.subject) for event in Events(connection).after(0)]


def live(publisher, days):
    for _ in range(days):
        publisher.clock.advance(DAY)
        publisher.repository.renew()


def test_what_is_renewed_in_time_is_no_news(publisher, watch):
    for _ in range(20):
        publisher.clock.advance(0.55 * DAY)
        publisher.repository.renew()
        watch.turn()
    assert events(watch) == []


def test_offline_keys_are_asked_for_long_before_the_end_and_once(publisher, watch):
    held = {name: publisher.keys.signer(name) for name in OFFLINE}
    for name in OFFLINE:
        publisher.keys.remove(name)
    live(publisher, 91)
    for _ in range(3):
        with pytest.raises(RefusedError, match=r"targets \(due, ") as raised:
            watch.turn()
    assert "hinterland trust renew" in raised.value.hint
    assert events(watch) == [("trust.due", "targets")]
    live(publisher, 90)
    with pytest.raises(RefusedError, match=r"targets \(expired, "):
        watch.turn()
    assert events(watch)[1:] == [("trust.expired", "targets")]
    publisher.keys._signers.update(held)
    publisher.repository.renew()
    watch.turn()


def test_a_renewal_that_fails_is_seen_while_there_is_time(publisher, watch):
    publisher.clock.advance(0.5 * DAY + 60)
    watch.turn()  # the next renewal is a few minutes away
    publisher.clock.advance(3600)
    with pytest.raises(RefusedError, match="timestamp"):
        watch.turn()
