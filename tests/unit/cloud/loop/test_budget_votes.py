"""A greater privacy budget waits for others where they are asked for; a smaller one for nobody."""

import pytest

from cloud.access.approvals import Standing
from cloud.access.principal import Principal
from cloud.audit.log import AuditLog
from cloud.loop.budget_votes import proposal_digest, vote
from cloud.loop.privacy import set_budget
from cloud.store.privacy import Privacy
from shared.errors import RefusedError
from shared.privacy import Budget


def person(name):
    return Principal(name=name, tenant="acme", roles=("release-manager",), fleets=("*",))


ANN, BOB, EVE = (person(name) for name in ("ann", "bob", "eve"))


def promise(stations, epsilon, by=ANN, delta=1e-5, needed=2):
    with stations.database.write() as connection:
        wanted = Budget(epsilon=epsilon, delta=delta)
        set_budget(connection, "activity", wanted, at=3.0, by=by.actor, reason="as agreed", needed=needed)


def say(stations, by, *, yes=True, digest=None, needed=2):
    with stations.database.write() as connection:
        waiting = Privacy(connection).proposal("activity")
        digest = digest or (proposal_digest(waiting) if waiting else "0" * 64)
        return vote(connection, "activity", by=by, digest=digest, yes=yes, reason="looked at", needed=needed, at=4.0)


def stands(stations):
    with stations.database.read() as connection:
        held, waiting = Privacy(connection).budget("activity"), Privacy(connection).proposal("activity")
        return held.epsilon if held else None, waiting.epsilon if waiting else None


def test_a_greater_budget_waits_for_two_others(stations):
    promise(stations, 4.0)
    assert stands(stations) == (4.0, None)
    promise(stations, 8.0)
    assert stands(stations) == (4.0, 8.0)
    with pytest.raises(RefusedError, match="others approve"):
        say(stations, ANN)
    assert say(stations, BOB) is Standing.WAITING
    assert say(stations, BOB) is Standing.WAITING
    assert say(stations, EVE) is Standing.APPROVED
    assert stands(stations) == (8.0, None)
    rows = [(r.action, r.actor) for r in stations.read(lambda c: AuditLog(c).rows()) if "privacy" in r.action]
    assert rows == [
        ("privacy.budget", ANN.actor), ("privacy.propose", ANN.actor), ("privacy.approve", BOB.actor),
        ("privacy.approve", BOB.actor), ("privacy.approve", EVE.actor), ("privacy.budget", ANN.actor),
    ]  # fmt: skip


def test_also_a_greater_delta_waits_and_one_other_may_do(stations):
    promise(stations, 4.0, needed=1)
    promise(stations, 3.0, delta=1e-4, needed=1)
    assert stands(stations) == (4.0, 3.0)
    with pytest.raises(RefusedError, match="others approve"):
        say(stations, ANN, needed=1)
    assert say(stations, BOB, needed=1) is Standing.APPROVED
    assert stands(stations) == (3.0, None)


def test_a_smaller_budget_counts_at_once_and_ends_what_waited(stations):
    promise(stations, 4.0)
    promise(stations, 8.0)
    promise(stations, 2.0)
    assert stands(stations) == (2.0, None)
    with pytest.raises(RefusedError, match="waits"):
        say(stations, BOB)


def test_a_no_holds_it_until_it_is_taken_back(stations):
    promise(stations, 4.0)
    promise(stations, 8.0)
    assert say(stations, BOB, yes=False) is Standing.REJECTED
    assert say(stations, EVE) is Standing.REJECTED
    assert say(stations, BOB) is Standing.APPROVED


def test_votes_for_another_proposal_count_for_nothing(stations):
    promise(stations, 4.0)
    promise(stations, 8.0)
    with stations.database.read() as connection:
        seen = proposal_digest(Privacy(connection).proposal("activity"))
    say(stations, BOB)
    promise(stations, 80.0)
    with pytest.raises(RefusedError, match="looked at"):
        say(stations, EVE, digest=seen)
    assert say(stations, EVE) is Standing.WAITING
    assert stands(stations) == (4.0, 80.0)


def test_where_nobody_is_asked_it_counts_at_once(stations):
    promise(stations, 4.0, needed=0)
    promise(stations, 8.0, needed=0)
    assert stands(stations) == (8.0, None)
