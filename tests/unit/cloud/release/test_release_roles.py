from datetime import UTC, datetime, timedelta

import pytest

from cloud.release.roles import DAY, due, expiry, rule

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("role", ["root", "targets", "releases", "snapshot", "timestamp", "fleet-lab"])
def test_due_at_half_life(role):
    expires = expiry(role, at=AT.timestamp())
    half = rule(role).lifetime / 2
    assert expires == AT + timedelta(seconds=rule(role).lifetime)
    assert not due(role, expires, at=AT.timestamp() + half - 1)
    assert due(role, expires, at=AT.timestamp() + half + 1)
    assert due(role, expires, at=AT.timestamp() + 10 * rule(role).lifetime)


def test_every_fleet_signs_with_a_key_of_its_own():
    assert rule("fleet-a").keys != rule("fleet-b").keys
    assert rule("fleet-a").lifetime == 7 * DAY


def test_only_root_and_targets_are_offline():
    assert [role for role in ("root", "targets", "releases", "snapshot", "timestamp") if rule(role).offline] == [
        "root",
        "targets",
    ]
