"""Asking too often is answered with when to come back; wrong credentials are counted, not listed."""

import pytest

from cloud.access.gate import TOLD_S, open_gate
from cloud.access.keys import create, new_key
from cloud.access.principal import TooManyError, UnauthenticatedError
from cloud.audit.log import AuditLog
from cloud.settings import AccessSettings
from shared.clock import VirtualClock

WRONG = new_key()


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def gate(database, clock, tmp_path):
    access = AccessSettings(per_minute=5, strangers_per_minute=3, failures_per_minute=4)
    return open_gate(access, policy=tmp_path / "policy.cedar", tenant="acme", database=database, clock=clock)


def fail(gate, times, address="192.0.2.1"):
    for _ in range(times):
        with pytest.raises(UnauthenticatedError):
            gate.principal(WRONG, address=address)


def test_a_principal_that_asks_too_often_waits(gate, database):
    key, other = create(database, "ann", at=1.0), create(database, "bob", at=1.0)
    for _ in range(5):
        gate.principal(key, address="192.0.2.1")
    with pytest.raises(TooManyError) as caught:
        gate.principal(key, address="192.0.2.2")
    assert 0 < caught.value.retry_after <= 60
    assert gate.principal(other, address="192.0.2.1").name == "bob"


def test_new_keys_of_an_address_with_too_many_wrong_ones_are_not_looked_at(gate, database):
    known, fresh = create(database, "ann", at=1.0), create(database, "bob", at=1.0)
    gate.principal(known, address="192.0.2.1")
    fail(gate, 4)
    for key in (WRONG, fresh):
        with pytest.raises(TooManyError):
            gate.principal(key, address="192.0.2.1")
    assert gate.principal(known, address="192.0.2.1").name == "ann"  # who shares the address has not failed
    assert gate.principal(fresh, address="192.0.2.2").name == "bob"


def test_strangers_are_counted_by_address(gate):
    for _ in range(3):
        gate.limits.stranger("192.0.2.1")
    with pytest.raises(TooManyError):
        gate.limits.stranger("192.0.2.1")
    gate.limits.stranger("192.0.2.2")


def test_failures_are_one_row_a_minute_with_their_number(gate, database, clock):
    for n in range(30):
        fail(gate, 1, address=f"192.0.2.{n}")
    clock.advance(TOLD_S)
    fail(gate, 1, address="192.0.2.99")
    with database.read() as connection:
        rows = [row for row in AuditLog(connection).rows() if row.action == "access.refuse"]
    assert [row.after for row in rows] == [{"since the last row": 1}, {"since the last row": 30}]
    assert WRONG not in str(rows)
