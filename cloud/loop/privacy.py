"""What runs disclose about a population: carried from ledgers into the database, and held against every later order."""

from __future__ import annotations

import math

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.store.events import Events
from cloud.store.privacy import BudgetRow, Disclosure, Privacy
from cloud.store.runs import Run, Runs, RunState
from cloud.training.events import PrivacySpent
from cloud.training.ledger import RunLedger
from cloud.training.private.terms import Charge, population_of
from cloud.training.spec import RunSpec
from shared.errors import ContractError, RefusedError
from shared.ids import check_name
from shared.privacy import Budget

UNREAD = "unread"
"""Stands for the disclosures of a round of which the ledger cannot be read any more."""


def take_spending(connection: Connection, run: Run, event: PrivacySpent) -> None:
    """Keep what a run's ledger says it paid; once, however often it is told."""
    row = Disclosure(
        run=run.id,
        round=event.round,
        release=event.release,
        population=event.population,
        at=event.at,
        multiplier=event.multiplier,
        epsilon=event.epsilon,
        delta=event.delta,
    )
    if Privacy(connection).disclose(row):
        text = (
            f"{run.id} round {event.round}: {event.population} has spent ε = {event.epsilon:.4g} at δ = {event.delta:g}"
        )
        Events(connection).add("privacy.spent", run.id, text, at=event.at, population=event.population)


def settle_spending(connection: Connection, run: Run, ledger: RunLedger, *, at: float) -> None:
    """Count what a run that is given up has disclosed: as its ledger says, and in full where it cannot be read."""
    if run.state in (RunState.QUEUED, RunState.WARMING):  # no job was ever started for it
        return
    try:
        events, end = ledger.read_since(0)
    except ContractError:
        end, events = -1, []
    if end < max(run.followed, 1):  # broken, gone, or shorter than it was
        take_unread(connection, run, at=at)
    for event in events:
        if isinstance(event, PrivacySpent):
            take_spending(connection, run, event)


def take_unread(connection: Connection, run: Run, *, at: float) -> None:
    """Count each round of a run whose ledger is lost as disclosed: more than it spent, never less."""
    spec = msgspec.convert(run.spec, RunSpec)
    noise, store = spec.privacy.noise if spec.privacy else None, Privacy(connection)
    if noise is None:
        return
    for number in range(1, spec.rounds + 1):
        store.disclose(
            Disclosure(
                run=run.id,
                round=number,
                release=UNREAD,
                population=population_of(spec.privacy, task=spec.task),
                at=at,
                multiplier=noise.multiplier,
                epsilon=noise.epsilon,
                delta=noise.delta,
            )
        )


def with_spent(connection: Connection, spec: RunSpec) -> RunSpec:
    """The specification of an order, with all that its population disclosed before.

    Raises:
        ContractError: somebody else filled that in.
        RefusedError: another run draws on the same budget, the terms promise less than the population was promised,
            or everything is spent.
    """
    if spec.privacy is None:
        return spec
    if spec.privacy.spent:
        raise ContractError("an order cannot set 'privacy.spent'", hint="Leave it out: the coordinator knows it.")
    population, noise = population_of(spec.privacy, task=spec.task), spec.privacy.noise
    if noise is None:
        return spec
    _check_alone(connection, population)
    store = Privacy(connection)
    promised = store.budget(population)
    if promised is not None and (noise.epsilon > promised.epsilon or noise.delta > promised.delta):
        raise RefusedError(
            f"{population} was promised ε = {promised.epsilon:g} at δ = {promised.delta:g},"
            f" the run would take ε = {noise.epsilon:g} at δ = {noise.delta:g}",
            hint="Lower the run's terms; `hinterland privacy budget` changes the promise, which the audit log tells.",
        )
    rows = store.disclosures(population)
    spent = max((row.epsilon for row in rows if row.delta >= noise.delta), default=0.0)
    if spent >= noise.epsilon:
        raise RefusedError(
            f"{population} has spent ε = {spent:.4g} of {noise.epsilon:g} at δ = {noise.delta:g}: nothing is left",
            hint="`hinterland privacy list` says on what. A greater budget changes a promise to the population.",
        )
    charges = tuple(Charge(run=r.run, round=r.round, release=r.release, multiplier=r.multiplier) for r in rows)
    return msgspec.structs.replace(spec, privacy=msgspec.structs.replace(spec.privacy, spent=charges))


def set_budget(
    connection: Connection, population: str, wanted: Budget, *, at: float, by: str, reason: str, needed: int = 0
) -> None:
    """Promise a population a budget over all runs.

    A greater one than was promised only waits where `needed` others must agree (`cloud.loop.budget_votes`).

    Raises:
        ContractError: no population's name.
        RefusedError: a number is out of range, or nobody says why.
    """
    check_name(population, kind="population")
    if not (0.0 < wanted.epsilon < math.inf and 0.0 < wanted.delta < 1.0):
        raise RefusedError("a budget is out of range", hint="ε above 0, δ between 0 and 1.")
    if not reason.strip():
        raise RefusedError("a budget needs a reason", hint="Say what was promised to whom, with --reason.")
    store = Privacy(connection)
    held = store.budget(population)
    row = BudgetRow(population=population, epsilon=wanted.epsilon, delta=wanted.delta, at=at, by=by, reason=reason)
    greater = held is not None and (row.epsilon > held.epsilon or row.delta > held.delta)
    if greater and needed:
        store.propose(row)
    else:
        store.put_budget(row)
    tell_budget(connection, row, before=held, proposed=greater and needed > 0)


def tell_budget(connection: Connection, row: BudgetRow, *, before: BudgetRow | None, proposed: bool = False) -> None:
    """Have log and timeline say what a population is promised now, or is to be."""
    AuditLog(connection).add(
        at=row.at,
        actor=row.by,
        action="privacy.propose" if proposed else "privacy.budget",
        subject=row.population,
        reason=row.reason,
        before={"epsilon": before.epsilon, "delta": before.delta} if before else {},
        after={"epsilon": row.epsilon, "delta": row.delta},
    )
    word = "would be promised" if proposed else "is promised"
    text = f"{row.population} {word} ε = {row.epsilon:g} at δ = {row.delta:g}: {row.reason}"
    Events(connection).add("privacy.propose" if proposed else "privacy.budget", row.population, text, at=row.at)


def _check_alone(connection: Connection, population: str) -> None:
    """Two runs that know nothing of each other's spending would each spend what is left."""
    for run in Runs(connection).open():
        other = msgspec.convert(run.spec, RunSpec)
        if population_of(other.privacy, task=other.task) == population:
            raise RefusedError(
                f"{run.id} draws on the budget of {population} and is not over yet",
                hint="Wait for it: `hinterland runs watch`.",
            )
