"""Take drift reports in, raise alarms, and order the run that answers them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection

from cloud.drift.detect import DriftState, Score, observe
from cloud.drift.policy import Policy
from cloud.drift.retrain import RetrainDecision, decide
from cloud.drift.summary import Summary, merge
from cloud.loop.run_orders import order_run, spec_of
from cloud.models.line import ModelLine, line_from
from cloud.rollout.state import TERMINAL
from cloud.store.cursors import cursor, set_cursor
from cloud.store.database import Database
from cloud.store.drift import DriftRow, DriftScoreRow, DriftStore
from cloud.store.events import Events
from cloud.store.lines import Lines
from cloud.store.releases import Releases
from cloud.store.reports import statuses
from cloud.store.rollouts import Rollouts
from cloud.store.runs import OPEN, Run, Runs, RunState
from cloud.store.telemetry import labels_held
from shared.api import RunRequest
from shared.clock import Clock
from shared.codec import unpack
from shared.errors import ContractError, RefusedError
from shared.messages import DriftReport

log = logging.getLogger(__name__)

ACTOR = "coordinator"
CURSOR = "drift"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftKeeper:
    """One turn over all that devices reported since the last one."""

    database: Database
    clock: Clock
    fleet: str
    """Whose devices train when a line names no fleet."""

    def turn(self) -> None:
        """Judge new reports, each in the transaction that moves the cursor past it; then look at every model line."""
        while self._take_one_batch():
            pass
        with self.database.read() as connection:
            lines = [line_from(row.document) for row in Lines(connection).all()]
        for line in lines:
            if line.retrain is not None:
                self._consider(line)

    def _take_one_batch(self) -> bool:
        with self.database.write() as connection:
            rows = DriftStore(connection).reports(after=cursor(connection, CURSOR))
            policies = {row.name: line_from(row.document).watch for row in Lines(connection).all()}
            for row in rows:
                self._take(connection, row, policies.get(row.model, Policy()))
            if rows:
                set_cursor(connection, CURSOR, rows[-1].id)
        return bool(rows)

    def _take(self, connection: Connection, row: DriftRow, policy: Policy) -> None:
        store = DriftStore(connection)
        before = store.state(row.device, row.model, row.release)
        try:
            report = unpack(row.body, DriftReport)
            fallback = None if before.reference or report.reference else _fleet_reference(connection, row)
            after, score = observe(before, report, policy, at=row.received_at, fallback=fallback)
        except ContractError as error:
            log.warning("a drift report of %s is left out: %s", row.device, error)
            return
        store.put_state(after, at=row.received_at)
        if score is not None:
            store.add_score(_score_row(row, after, score))
        if after.drifted != before.drifted:
            _tell(connection, after, policy, at=self.clock.now())

    def _consider(self, line: ModelLine) -> None:
        with self.database.write() as connection:
            decision = _decision(connection, line, at=self.clock.now())
            if decision.start:
                self._order(connection, line, decision)

    def _order(self, connection: Connection, line: ModelLine, decision: RetrainDecision) -> None:
        """Train on with everybody who formed the serving model, and the drifted devices with their new labels."""
        last = _last_released(connection, line.name)
        held = {member.device: member.labels for member in spec_of(last).members} if last else {}
        rounds = line.retrain.rounds if line.retrain else 0
        request = RunRequest(
            model=line.name,
            reason=decision.reason,
            devices=sorted({*held, *decision.devices}) if held or line.members else decision.devices,
            labels=held | decision.labels,
            start=last.id if last else "",
            overrides={"rounds": rounds} if rounds else {},
        )
        try:
            order_run(connection, request, fleet=self.fleet, at=self.clock.now(), by=ACTOR, cause="drift")
        except RefusedError as error:
            log.warning("no run of %s: %s", line.name, error)


def _decision(connection: Connection, line: ModelLine, *, at: float) -> RetrainDecision:
    assert line.retrain is not None  # noqa: S101  the caller looks
    runs = Runs(connection).all(model=line.name)
    under_way = any(run.state in OPEN for run in runs) or any(
        rollout.model == line.name and rollout.state not in TERMINAL for rollout in Rollouts(connection).all()
    )
    serving = {status.device: status.serving for status in statuses(connection) if status.model == line.name}
    return decide(
        [s for s in DriftStore(connection).states(model=line.name) if serving.get(s.device) == s.release],
        labels_held(connection, line.name),
        line.retrain,
        at=at,
        last_run=max((run.created_at for run in runs), default=None),
        running=under_way,
    )


def _last_released(connection: Connection, model: str) -> Run | None:
    done = [run for run in Runs(connection).all(model=model) if run.state is RunState.RELEASED]
    return done[-1] if done else None


def _fleet_reference(connection: Connection, row: DriftRow) -> Summary | None:
    """The reference of all devices that sent one, for a device without training data of its own.

    A device that trained this release is not held against the others: people differ, and its own reference comes.
    """
    if row.device in _trained(connection, row.release):
        return None
    states = [state for state in DriftStore(connection).states(model=row.model) if state.release == row.release]
    held = [state.reference for state in states if state.reference is not None]
    return merge(held) if held else None


def _trained(connection: Connection, release: str) -> set[str]:
    """The devices whose data formed a release."""
    row = Releases(connection).find(release)
    run = Runs(connection).find(row.run) if row and row.run else None
    return {member.device for member in spec_of(run).members} if run else set()


def _score_row(row: DriftRow, state: DriftState, score: Score) -> DriftScoreRow:
    return DriftScoreRow(
        report=row.id,
        device=row.device,
        model=row.model,
        release=row.release,
        score=score.value,
        count=score.count,
        feature=next(iter(score.features), ""),
        alarm=state.drifted,
        at=row.received_at,
    )


def _tell(connection: Connection, state: DriftState, policy: Policy, *, at: float) -> None:
    value = state.score.value if state.score else 0.0
    data = {"device": state.device, "model": state.model, "release": state.release, "score": value}
    if state.drifted:
        text = f"inputs of {state.device} have left what {state.release} was trained on"
        Events(connection).add("drift.alarm", state.device, text, at=at, threshold=policy.threshold, **data)
    else:
        text = f"inputs of {state.device} are usual for {state.release} again"
        Events(connection).add("drift.over", state.device, text, at=at, threshold=policy.threshold, **data)
