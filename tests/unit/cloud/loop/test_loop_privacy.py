"""What a population disclosed over all runs: counted once, told to every later order, and bounded by a promise."""

import contextlib

import pytest

from cloud.audit.log import AuditLog
from cloud.loop.follow import take_events
from cloud.loop.orders import apply_line
from cloud.loop.privacy import UNREAD, set_budget, settle_spending
from cloud.loop.run_orders import order_run, spec_of
from cloud.models.variants import FLOAT
from cloud.store.privacy import Privacy
from cloud.store.runs import Runs
from cloud.training.events import PrivacySpent
from cloud.training.ledger import EVENTS as LEDGER
from cloud.training.ledger import RunLedger
from cloud.training.private.accountant import epsilon
from shared.api import RunRequest
from shared.errors import ContractError, RefusedError
from shared.privacy import Budget
from tests.unit.cloud.loop.conftest import LINE

NOISE = {"epsilon": 20.0, "delta": 1e-3, "clip": 0.5, "multiplier": 0.6}


def private(**noise):
    return {"privacy": {"noise": NOISE | noise}}


def spent(round_, release="sum", epsilon_=5.0, population="activity", delta=1e-3):
    return PrivacySpent(
        at=float(round_), round=round_, population=population, release=release, multiplier=0.6, epsilon=epsilon_,
        delta=delta,
    )  # fmt: skip


def tell(stations, run, *events):
    with stations.database.write() as connection:
        take_events(connection, Runs(connection).get(run), events, offset=0)


def over(stations, run):
    with stations.database.write() as connection:
        Runs(connection).change(run, state="failed")


def order_other(stations, overrides):
    """Order a run of another line that trains the same task."""
    with stations.database.write() as connection:
        apply_line(connection, "posture", LINE | {"name": "posture"}, at=1.0, by="test")
        request = RunRequest(model="posture", overrides=overrides)
        return order_run(connection, request, fleet="wards", at=1.0, by="test")


def promise(stations, epsilon_, delta=1e-3, reason="as agreed", population="activity"):
    with stations.database.write() as connection:
        set_budget(
            connection, population, Budget(epsilon=epsilon_, delta=delta), at=3.0, by="operator:ann", reason=reason
        )


def kept(stations, population="activity"):
    return stations.read(lambda connection: Privacy(connection).disclosures(population))


def test_a_later_run_is_told_what_earlier_ones_disclosed_each_sum_once(stations):
    first = stations.order(overrides=private())
    assert spec_of(first).privacy.spent == ()
    tell(stations, first.id, spent(1), spent(1), spent(2, epsilon_=8.0), spent(2, "another", epsilon_=10.0))
    tell(stations, first.id, spent(2, "another", epsilon_=10.0))  # followed again after a kill
    over(stations, first.id)  # a run that failed has disclosed what it has disclosed
    second = stations.order(overrides=private())
    charges = spec_of(second).privacy.spent
    assert [(c.run, c.round, c.release) for c in charges] == [
        (first.id, 1, "sum"), (first.id, 2, "another"), (first.id, 2, "sum"),
    ]  # fmt: skip
    tell(stations, second.id, spent(1, epsilon_=12.0))
    over(stations, second.id)
    third = spec_of(stations.order(overrides=private()))
    assert len(third.privacy.spent) == 4
    assert epsilon(third.privacy.spent, 1e-3) > epsilon(charges, 1e-3) > 0


def test_two_runs_of_one_population_never_run_at_once(stations):
    first = stations.order(overrides=private(population="ward"))
    with pytest.raises(RefusedError, match=f"{first.id} draws on the budget of ward"):
        order_other(stations, private(population="ward"))
    over(stations, first.id)
    assert order_other(stations, private(population="ward"))


def test_runs_without_noise_neither_draw_nor_wait(stations):
    first = stations.order(overrides=private())
    tell(stations, first.id, spent(1))
    second = order_other(stations, {"privacy": {"least": 3}})
    assert spec_of(second).privacy.spent == ()


def test_a_promise_bounds_every_later_order_and_the_log_tells_of_it(stations):
    promise(stations, 8.0)
    with pytest.raises(RefusedError, match="was promised ε = 8") as caught:
        stations.order(overrides=private())
    assert "hinterland privacy budget" in caught.value.hint
    with pytest.raises(RefusedError, match="was promised"):
        stations.order(overrides=private(epsilon=8.0, delta=1e-2))
    assert stations.order(overrides=private(epsilon=8.0))
    promise(stations, 30.0, reason="asked again, agreed again")
    rows = [r for r in stations.read(lambda c: AuditLog(c).rows()) if r.action == "privacy.budget"]
    assert [(r.reason, r.subject) for r in rows] == [
        ("as agreed", "activity"), ("asked again, agreed again", "activity"),
    ]  # fmt: skip
    assert [r.before.get("epsilon") for r in rows] == [None, 8.0]


def test_an_order_of_which_nothing_is_left_is_refused_before_it_begins(stations):
    first = stations.order(overrides=private())
    tell(stations, first.id, spent(1, epsilon_=20.5))
    over(stations, first.id)
    with pytest.raises(RefusedError, match="nothing is left") as caught:
        stations.order(overrides=private())
    assert "hinterland privacy list" in caught.value.hint


def test_nobody_but_the_coordinator_says_what_was_spent(stations):
    charge = {"run": "x", "round": 1, "release": "r", "multiplier": 9.0}
    with pytest.raises(ContractError, match=r"privacy\.spent"):
        stations.order(overrides={"privacy": {"noise": NOISE, "spent": [charge]}})


@pytest.mark.parametrize(
    ("epsilon_", "delta", "reason", "population"),
    [(0.0, 1e-3, "so", "activity"), (float("nan"), 1e-3, "so", "activity"), (float("inf"), 1e-3, "so", "activity"),
     (8.0, 1.0, "so", "activity"), (8.0, 1e-3, " ", "activity"), (8.0, 1e-3, "so", "no name/")],
)  # fmt: skip
def test_a_promise_that_is_none_is_refused(stations, epsilon_, delta, reason, population):
    with pytest.raises((RefusedError, ContractError)):
        promise(stations, epsilon_, delta, reason, population)
    assert stations.read(lambda connection: Privacy(connection).budget(population)) is None


def test_a_run_whose_ledger_is_lost_counts_in_full(stations):
    first = stations.order(overrides=private())
    stations.settle(2)
    (stations.runs.directory / first.id / LEDGER).write_bytes(b"\x00 no ledger\n")
    stations.settle(2)
    assert stations.read(lambda c: Runs(c).get(first.id)).state == "failed"
    assert [(row.round, row.release) for row in kept(stations)] == [(1, UNREAD), (2, UNREAD)]
    with pytest.raises(RefusedError, match="nothing is left"):
        stations.order(overrides=private())


def test_a_run_that_is_given_up_for_another_reason_counts_as_its_ledger_says(stations):
    first = stations.order(overrides=private())
    stations.settle(2)
    RunLedger(stations.runs.directory / first.id).append(spent(1))
    stations.play_job(first.id)
    (stations.runs.directory / first.id / FLOAT).write_bytes(b"not what was judged")
    stations.settle(3)
    assert stations.read(lambda c: Runs(c).get(first.id)).state == "failed"
    assert [(row.round, row.release) for row in kept(stations)] == [(1, "sum")]


def test_a_ledger_that_is_gone_or_shorter_than_it_was_counts_in_full(stations):
    first = stations.order(overrides=private())
    stations.settle(2)
    RunLedger(stations.runs.directory / first.id).append(spent(1))
    stations.settle(1)
    ledger = stations.runs.directory / first.id / LEDGER
    ledger.write_bytes(b"")
    run = stations.read(lambda c: Runs(c).get(first.id))
    with stations.database.write() as connection:
        settle_spending(connection, run, RunLedger(ledger.parent), at=9.0)
    assert {(row.round, row.release) for row in kept(stations)} == {(1, "sum"), (1, UNREAD), (2, UNREAD)}


def test_a_run_that_never_began_disclosed_nothing(stations):
    run = stations.order(overrides=private())
    with stations.database.write() as connection:
        settle_spending(connection, run, RunLedger(stations.runs.directory / run.id), at=9.0)
    assert kept(stations) == []


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 4))
def test_a_disclosure_counts_once_wherever_the_coordinator_dies(stations, mortal, killed, at, before):
    run = stations.order(overrides=private())
    stations.settle()
    RunLedger(stations.runs.directory / run.id).append(spent(1))
    dying = mortal(at, before=before)
    with contextlib.suppress(killed):
        dying.runs.turn()
    stations.runs.turn()
    assert [(row.round, row.release) for row in kept(stations)] == [(1, "sum")]


def test_what_was_spent_at_another_delta_does_not_refuse_an_order_that_may_fit(stations):
    first = stations.order(overrides=private(delta=1e-4))
    tell(stations, first.id, spent(1, epsilon_=20.5, delta=1e-4))  # less than that at the delta of the next run
    over(stations, first.id)
    assert spec_of(stations.order(overrides=private())).privacy.spent
