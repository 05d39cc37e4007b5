"""The log shows every kind of tampering in its middle."""

import pytest
from sqlalchemy import delete, update

from cloud.audit.log import AuditLog
from cloud.store.tables import audit
from shared.audit import verify


@pytest.fixture
def log(database):
    with database.write() as connection:
        for number in range(1, 6):
            AuditLog(connection).add(
                at=number + 0.25, actor="operator:ann", action="token.create", subject=f"t{number}", after={"n": number}
            )
    return database


def rows(database):
    with database.read() as connection:
        return AuditLog(connection).rows()


def test_an_honest_log_verifies(log):
    assert len(rows(log)) == 5
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
def test_tampering_is_named(log, tampering, flaw):
    with log.write() as connection:
        connection.execute(tampering)
    assert verify(rows(log)) == flaw


def test_swapped_rows_are_seen(log):
    with log.write() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(update(audit).where(audit.c.number == old).values(number=new))
    assert verify(rows(log)) == "row 2 does not continue row 1"


def test_a_row_sealed_again_after_an_edit_breaks_the_next_one(log):
    from msgspec.structs import replace

    from shared.audit import seal

    forged = seal(replace(rows(log)[1], actor="operator:eve"))
    with log.write() as connection:
        connection.execute(update(audit).where(audit.c.number == 2).values(actor=forged.actor, digest=forged.digest))
    assert verify(rows(log)) == "row 3 does not continue row 2"
