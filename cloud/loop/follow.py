"""What a run's ledger says, taken into the database; each line once, however often we are killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.privacy import take_spending
from cloud.loop.quarantine import take_refusal
from cloud.store.events import Events
from cloud.store.runs import Round, Run, Runs, RunState
from cloud.training.events import (
    AnyEvent,
    AttemptStarted,
    Cause,
    PhaseStarted,
    PrivacySpent,
    QueryRefused,
    RoundFinished,
    RoundStarted,
    RunFailed,
    RunFinished,
    UpdateRefused,
)
from cloud.training.progress import RoundProgress, advance

ACTOR = "coordinator"


def take_events(connection: Connection, run: Run, events: Sequence[AnyEvent], *, offset: int) -> None:
    """Store what `events` tell, and with it that the ledger was followed up to byte `offset`."""
    for event in events:
        _take(connection, run, event)
    _keep_progress(connection, run, events)
    Runs(connection).change(run.id, followed=offset)


def _take(connection: Connection, run: Run, event: AnyEvent) -> None:
    tell = Events(connection).add
    match event:
        case AttemptStarted():
            text = f"{run.id} trains, from round {event.from_round}"
            tell("run.attempt", run.id, text, at=event.at, flower_run=str(event.flower_run), round=event.from_round)
        case PhaseStarted():
            tell("run.phase", run.id, f"{run.id}: {event.phase}", at=event.at, phase=event.phase.value)
        case RoundStarted():
            Runs(connection).put_round(Round(run=run.id, number=event.round, cohort=event.cohort, at=event.at))
        case UpdateRefused() | QueryRefused() if event.cause is Cause.VETOED:
            text = f"{event.device} takes no part in {run.id}: {event.reason}"
            tell("run.vetoed", run.id, text, at=event.at, device=event.device, reason=event.reason)
        case UpdateRefused() | QueryRefused():
            if isinstance(event, UpdateRefused):
                take_refusal(connection, run, event)
            text = f"{run.id} took nothing from {event.device}: {event.reason}"
            tell("run.refused", run.id, text, at=event.at, device=event.device, reason=event.reason)
        case PrivacySpent():
            take_spending(connection, run, event)
        case RoundFinished():
            _finish_round(connection, run, event)
        case RunFailed():
            _fail(connection, run, event)
        case RunFinished():
            Runs(connection).change(run.id, state=RunState.JUDGED.value, finished_at=event.at)
            note(connection, run, RunState.JUDGED, at=event.at, reason=event.verdict)
            tell("run.finished", run.id, f"{run.id}: {event.verdict}", at=event.at, digest=event.digest)
        case _:  # what the timeline does not need: it stays in the ledger
            pass


def _keep_progress(connection: Connection, run: Run, events: Sequence[AnyEvent]) -> None:
    """Go on with the stored progress of the rounds that `events` tell of."""
    touched = {number for event in events if (number := getattr(event, "round", None)) is not None}
    if not touched:
        return
    rows = {row.number: row for row in Runs(connection).rounds(run.id) if row.number in touched}
    rounds = {n: msgspec.convert(row.progress, RoundProgress) for n, row in rows.items() if row.progress}
    for event in events:
        rounds = advance(rounds, event)
    for number in sorted(rows.keys() & rounds.keys()):
        told = msgspec.to_builtins(rounds[number])
        Runs(connection).put_round(msgspec.structs.replace(rows[number], progress=told))


def _finish_round(connection: Connection, run: Run, event: RoundFinished) -> None:
    started = Runs(connection).round(run.id, event.round)
    metrics = {
        "train_loss": event.train_loss,
        "loss": event.loss,
        "accuracy": event.accuracy,
        "accepted": float(event.accepted),
        "refused": float(event.refused),
        "late": float(event.late),
        "seconds": event.seconds,
    }
    for device, score in event.devices.items():
        metrics[f"accuracy.{device}"] = score.correct / score.examples if score.examples else 0.0
    cohort = started.cohort if started else sorted(event.devices)
    Runs(connection).put_round(
        Round(
            run=run.id,
            number=event.round,
            cohort=cohort,
            metrics=metrics,
            digest=event.digest,
            at=event.at,
            progress=started.progress if started else {},
        )
    )
    text = f"{run.id} round {event.round}: accuracy {event.accuracy:.3f}, {event.accepted} updates"
    Events(connection).add("run.round", run.id, text, at=event.at, round=event.round, accuracy=event.accuracy)


def _fail(connection: Connection, run: Run, event: RunFailed) -> None:
    kind = "run.retry" if event.retry else "run.failed"
    Events(connection).add(kind, run.id, f"{run.id}: {event.reason}", at=event.at, hint=event.hint)
    if not event.retry:
        Runs(connection).change(
            run.id, state=RunState.FAILED.value, reason=_reason(run, event.reason), finished_at=event.at
        )
        note(connection, run, RunState.FAILED, at=event.at, reason=event.reason)


def note(connection: Connection, run: Run, state: RunState, *, at: float, reason: str, **after: Any) -> None:
    """Have the audit log say that the coordinator brought `run` into `state`."""
    AuditLog(connection).add(
        at=at,
        actor=ACTOR,
        action=f"run.{state.value}",
        subject=run.id,
        reason=reason,
        before={"state": run.state.value},
        after={"state": state.value} | after,
    )


def _reason(run: Run, failure: str) -> str:
    return f"{run.reason}; {failure}" if run.reason else failure


def failed(run: Run, failure: str) -> Run:
    """The run after a failure that its own ledger does not tell."""
    return msgspec.structs.replace(run, state=RunState.FAILED, reason=_reason(run, failure))
