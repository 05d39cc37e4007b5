"""The log shows every kind of tampering in its middle, and refuses the plain ways to tamper with it."""

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import IntegrityError

from cloud.audit.log import AuditLog
from cloud.store.tables import audit
from shared.audit import Anchor, Chain, seal, verify


@pytest.fixture
def log(database):
    with database.write() as connection:
        for number in range(1, 6):
            AuditLog(connection).add(
                at=number + 0.25, actor="operator:ann", action="token.create", subject=f"t{number}", after={"n": number}
            )
    return database


@pytest.fixture
def open_log(log):
    """Where somebody has removed what keeps the log from changing."""
    with log.write() as connection:
        for what in ("UPDATE", "DELETE"):
            connection.execute(text(f"DROP TRIGGER audit_no_{what}"))
    return log


def rows(database):
    with database.read() as connection:
        return AuditLog(connection).rows()


def test_an_honest_log_verifies(log):
    found = rows(log)
    assert len(found) == 5
    assert verify(found) is None
    assert verify(found, [Anchor(number=row.number, digest=row.digest) for row in found]) is None


@pytest.mark.parametrize("tampering", [delete(audit), update(audit).values(actor="operator:eve")])
def test_the_database_refuses_to_change_or_remove_a_row(log, tampering):
    with pytest.raises(IntegrityError, match="only grows"), log.write() as connection:
        connection.execute(tampering)
    assert verify(rows(log)) is None


@pytest.mark.parametrize(
    ("tampering", "flaw"),
    [
        (delete(audit).where(audit.c.number == 3), "row 3 is missing"),
        (update(audit).where(audit.c.number == 2).values(actor="operator:eve"), "row 2 was edited"),
        (update(audit).where(audit.c.number == 4).values(after={"n": 5}), "row 4 was edited"),
        (update(audit).where(audit.c.number == 4).values(digest="f" * 64), "row 4 was edited"),
    ],
)
def test_tampering_is_named(open_log, tampering, flaw):
    with open_log.write() as connection:
        connection.execute(tampering)
    assert str(verify(rows(open_log))) == flaw


def test_swapped_rows_are_seen(open_log):
    with open_log.write() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(update(audit).where(audit.c.number == old).values(number=new))
    assert str(verify(rows(open_log))) == "row 2 does not continue row 1"


def test_a_row_sealed_again_after_an_edit_breaks_the_next_one(open_log):
    from msgspec.structs import replace

    forged = seal(replace(rows(open_log)[1], actor="operator:eve"))
    with open_log.write() as connection:
        connection.execute(update(audit).where(audit.c.number == 2).values(actor=forged.actor, digest=forged.digest))
    assert str(verify(rows(open_log))) == "row 3 does not continue row 2"


def test_a_clock_that_was_set_back_is_told_and_is_no_flaw(log):
    with log.write() as connection:
        add = AuditLog(connection).add
        add(at=10_000.0, actor="operator:ann", action="device.revoke", subject="watch-1")
        add(at=9_000.0, actor="operator:eve", action="device.revoke", subject="watch-2")
        add(at=9_990.0, actor="operator:ann", action="device.revoke", subject="watch-3")  # a server set the clock
    chain = Chain()
    assert [chain.take(row) for row in rows(log)] == [None] * 8
    assert chain.end() is None
    assert chain.backwards == [7]


def steps(database, work):
    """SQLite's own count of what `work` makes it do."""
    with database.write() as connection:
        count, driver = [0], connection.connection.driver_connection
        driver.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 10)
        try:
            work(AuditLog(connection))
        finally:
            driver.set_progress_handler(None, 0)
    return count[0]


def add_one(log):
    log.add(at=9.0, actor="coordinator", action="fleet.sign", subject="wards")


def test_adding_a_row_costs_the_same_however_long_the_log_is(log):
    few = steps(log, add_one)
    last = rows(log)[-1]
    with log.write() as connection:
        digits = "SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6"
        many = f"WITH d AS ({digits}) SELECT a.d*343+b.d*49+c.d*7+e.d n FROM d a, d b, d c, d e WHERE n > 0"
        connection.execute(
            text(
                "INSERT INTO audit SELECT 100 + n, 1.0, 'a', 'b', 'c', '', '{}', '{}', 'x' || n, 'y' || n "
                f"FROM ({many})"
            )
        )
    assert len(rows(log)) > last.number + 2_000
    assert steps(log, add_one) <= few + 3  # in steps of ten instructions: a tree of one more level, no scan
    assert steps(log, lambda held: held.newest("fleet.sign")) <= few + 3
