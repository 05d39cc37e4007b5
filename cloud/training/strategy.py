"""The rounds of a run, driven by Flower's own `Strategy.start` over any `Grid`.

Flower's loop stays as it is. What differs from its `FedAvg`: the cohort is drawn by device, each device gets a
seed of its own, every update passes the gate and goes to disk, a rule of the spec combines them in the order of
device names, and what happened is in the ledger before the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from cloud.training.asking import Carried, Roster, content_of
from cloud.training.cohort import local_seed
from cloud.training.events import (
    AnyEvent,
    Cause,
    DeviceScore,
    RoundFinished,
    UpdateAccepted,
    UpdateLate,
    UpdateRefused,
)
from cloud.training.gate import Admitted, Gate, check_loss, metrics_of, read_score
from cloud.training.gate_terms import clip_bound
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.optimisers import Step
from cloud.training.quarantine import Conduct
from cloud.training.refusals import refusal, silence
from cloud.training.rules import combine, least
from cloud.training.scaffold import CONTROL, control_after, control_in
from cloud.training.schedule import Closable, Window, condition_of, open_window
from cloud.training.spec import RunSpec
from cloud.training.unpacking import Unpacking
from cloud.training.updates import UpdateStore
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.federation import Condition
from shared.tasks.records import FLAT, Sendable, flat_record, view
from shared.tasks.weights import form, weights_digest


@dataclass(frozen=True, slots=True)
class _Intake:
    """What single updates meet on their way into a round."""

    gate: Gate
    """Around the global weights as they were sent."""

    updates: UpdateStore


@dataclass(slots=True)
class _Round:
    """A round in progress."""

    number: int
    started: float
    cohort: list[str]
    sent: ArrayRecord
    window: Window
    intake: _Intake = field(init=False)
    """While updates are taken in; a private round has none, for it sees no single update."""

    losses: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Accepted device → its examples and training loss."""

    refused: dict[str, Cause] = field(default_factory=dict)
    late: int = 0
    """Of the cohort, whom the round did not wait for."""

    conditions: dict[str, Condition] = field(default_factory=dict)

    @property
    def vetoed(self) -> int:
        """Devices of the cohort whose owners did not allow it."""
        return sum(cause is Cause.VETOED for cause in self.refused.values())

    @property
    def train_loss(self) -> float:
        """Mean over examples, added up by device name so that arrival order leaves no trace."""
        total = sum(self.losses[device][0] * self.losses[device][1] for device in sorted(self.losses))
        return total / max(sum(examples for examples, _ in self.losses.values()), 1)


class RunStrategy(FedAvg):
    """The rounds after a checkpoint."""

    def __init__(
        self,
        spec: RunSpec,
        *,
        roster: Roster,
        registered: Mapping[str, int],
        begin: Checkpoint,
        ledger: RunLedger,
        clock: Clock,
    ) -> None:
        """Prepare the rounds after `begin`; `registered` maps each device that takes part to its examples."""
        super().__init__()
        self._form = form(begin.weights)
        self._sendable = Sendable(begin.weights)
        self._flat = self._sendable.flat
        """The global weights; `state.weights` are views of it, and a step moves it in place."""
        self.state = begin._replace(weights=view(self._flat, self._form))
        self._unpacking = Unpacking(self._form, local_parts=spec.local_parts, compression=spec.compression)
        self._begin = begin.round
        self._spec = spec
        self._roster = roster
        self._registered = dict(registered)
        self._ledger = ledger
        prior = {name: member.strikes for name, member in roster.members.items()}
        self.conduct = Conduct.of(ledger.events(), limit=spec.gate.strikes, prior=prior)
        self._clock = clock
        self._round: _Round | None = None

    def arrays(self) -> ArrayRecord:
        """The global weights, for Flower's loop to send: good until the next step."""
        return self._sendable.record()

    def summary(self) -> None:
        """Say nothing: the ledger tells more than Flower's log."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        current = self._open(self._begin + server_round, arrays)
        if isinstance(grid, Closable):
            grid.closed = lambda: current.window.is_closed(now=self._clock.monotonic())
        weights = Carried(arrays, form(self.state.weights))
        messages = [self._training(device, current.number, weights) for device in current.cohort]
        if self._spec.local.scaffold:
            control = flat_record(control_in(self.state.state, self._flat.size))
            for message in messages:
                message.content[fed.CONTROL] = control
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Put each update on disk as it arrives, combine them, move the model, write the checkpoint.

        Raises:
            TransportError: too few usable updates; another attempt goes on from the last committed round.
        """
        current = self._current()
        with UpdateStore(self._ledger.directory, size=self._flat.size) as updates:
            current.intake = _Intake(self._gate(), updates)
            for device, reply in self._roster.answers(replies):
                self._take(current, device, reply)
                del reply  # before the next one is fetched
                current.window.accepted = len(current.losses)
                if current.window.is_closed(now=self._clock.monotonic()):
                    break
            self._close(current)
            _check_quorum(current, max(self._spec.min_devices, least(self._spec.rule)))
            self._move(current)
        self._ledger.write_checkpoint(self.state)
        return self.arrays(), MetricRecord({fed.LOSS: current.train_loss})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        number = self._begin + server_round
        if isinstance(grid, Closable):
            grid.closed = bool  # hold-outs are scored by all
        weights = Carried(arrays, form(self.state.weights))
        out = self.conduct.quarantined(self._registered, before=number)  # whose scores are no evidence either
        asked = sorted(self._registered.keys() - set(out))
        return [
            self._roster.ask(fed.EVALUATE, device, weights=weights, round=number, local_parts=self._spec.local_parts)
            for device in asked
        ]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Add the hold-out scores up and commit the round."""
        current = self._current()
        scores: dict[str, DeviceScore] = {}
        for device, reply in self._roster.answers(replies):
            try:
                content = content_of(reply)
                scores[device] = read_score(content)
            except RefusedError as error:
                self._tell(
                    refusal(error, at=self._clock.now(), round_=current.number, device=device, what="evaluation")
                )
            else:
                current.conditions[device] = condition_of(content) or Condition()
        finished = self._finished(current, dict(sorted(scores.items())))
        self._tell(finished)
        return MetricRecord({fed.LOSS: finished.loss, "accuracy": finished.accuracy})

    def _open(self, number: int, arrays: ArrayRecord) -> _Round:
        """Draw the cohort of a round, and put on record that it has begun."""
        out = self.conduct.quarantined(self._registered, before=number)
        window = open_window(self._spec, self._ledger, self._registered, number, clock=self._clock, out=out)
        self._round = _Round(number, self._clock.monotonic(), window.started.cohort, arrays, window)
        self._tell(msgspec.structs.replace(window.started, quarantined=out))
        return self._round

    def _gate(self) -> Gate:
        """What the updates of a round must pass."""
        bound = clip_bound(self._spec.gate, self.conduct.ways)
        return Gate.around({FLAT: self._flat}, self._spec.gate, bound=bound)

    def _rate(self) -> float:
        """At which learning rate each device of the round trains."""
        return self._spec.local.learning_rate

    def _training(self, device: str, number: int, weights: Carried) -> Message:
        local = self._spec.local
        return self._roster.ask(
            fed.TRAIN,
            device,
            weights=weights,
            round=number,
            seed=local_seed(self._spec.seed, number, device),
            epochs=local.epochs,
            batch_size=local.batch_size,
            learning_rate=self._rate(),
            local_parts=self._spec.local_parts,
            compression=self._spec.compression,
            proximal=local.proximal,
            controlled=local.scaffold,
            budget_s=self._spec.pace.budget_s,
        )

    def _close(self, current: _Round) -> None:
        """Say of everybody else in the cohort that the round did not wait, or that there was no answer."""
        full = current.window.is_full()
        for device in current.cohort:
            if device in current.losses or device in current.refused:
                continue
            if full:
                current.late += 1
                self._tell(UpdateLate(at=self._clock.now(), round=current.number, device=device))
            else:
                self._refuse(current, silence(at=self._clock.now(), round_=current.number, device=device))

    def _move(self, current: _Round) -> None:
        """Move the global weights by what the rule makes of the updates."""
        current.sent.clear()  # everybody has answered: as large as the model, and Flower's loop still holds it
        control = self._control(current)  # before the weights move, of which it speaks
        moving = Step(self._spec.strategy, self._flat, self.state.state, round_=current.number)
        combine(self._spec.rule, current.intake.updates, moving.take)
        self.state = Checkpoint(current.number, self.state.weights, moving.state | control)

    def _control(self, current: _Round) -> dict[str, NDArray[np.float32]]:
        """SCAFFOLD's control variate after the round."""
        if not self._spec.local.scaffold:
            return {}
        before = control_in(self.state.state, self._flat.size)
        after = control_after(
            current.intake.updates, self._flat, before, local=self._spec.local, population=len(self._registered)
        )
        return {CONTROL: after}

    def _take(self, current: _Round, device: str, reply: Message) -> None:
        """Keep one update, or record why not."""
        if device not in current.cohort or device in current.losses:
            return
        try:
            content = content_of(reply)
            admitted = self._admit(current, content, registered=self._registered[device])
            loss = check_loss(metrics_of(content).get(fed.LOSS))
        except (RefusedError, ContractError) as error:
            self._refuse(current, refusal(error, at=self._clock.now(), round_=current.number, device=device))
            return
        self._keep(current, device, admitted)
        current.losses[device] = (admitted.examples, loss)
        self._tell(
            UpdateAccepted(
                at=self._clock.now(),
                round=current.number,
                device=device,
                examples=admitted.examples,
                loss=loss,
                way=admitted.way,
                clipped=admitted.clipped,
            )
        )

    def _admit(self, current: _Round, content: RecordDict, *, registered: int) -> Admitted:
        """Read an update and let it through the gate.

        Raises:
            ContractError, GateError: it may not count.
        """
        gate = current.intake.gate
        update = self._unpacking.read(content, gate.model)
        return gate.admit(update, metrics_of(content).get(fed.EXAMPLES), registered=registered)

    def _keep(self, current: _Round, device: str, admitted: Admitted) -> None:
        """Hold an update until the round is closed."""
        current.intake.updates.add(device, admitted.update[FLAT], examples=admitted.examples)

    def _refuse(self, current: _Round, refused: UpdateRefused) -> None:
        current.refused[refused.device] = refused.cause
        self._tell(refused)

    def _tell(self, event: AnyEvent) -> None:
        """Make an event durable, and learn from it."""
        self._ledger.append(event)
        self.conduct.take(event)

    def _finished(self, current: _Round, scores: dict[str, DeviceScore]) -> RoundFinished:
        examples = max(sum(score.examples for score in scores.values()), 1)
        return RoundFinished(
            at=self._clock.now(),
            round=current.number,
            train_loss=current.train_loss,
            loss=sum(score.loss_sum for score in scores.values()) / examples,
            accuracy=sum(score.correct for score in scores.values()) / examples,
            devices=scores,
            accepted=len(current.losses),
            refused=len(current.cohort) - len(current.losses) - current.late - current.vetoed,
            late=current.late,
            contributors={device: current.losses[device][0] for device in sorted(current.losses)},
            conditions=dict(sorted(current.conditions.items())),
            vetoed=current.vetoed,
            digest=weights_digest(self.state.weights),
            seconds=self._clock.monotonic() - current.started,
        )

    def _current(self) -> _Round:
        if self._round is None:
            raise RuntimeError("Flower's loop configures a round before it aggregates one")
        return self._round


def _check_quorum(current: _Round, needed: int) -> None:
    if len(current.losses) < needed:
        raise TransportError(
            f"round {current.number}: {len(current.losses)} usable updates of {len(current.cohort)},"
            f" at least {needed} are needed",
            hint="The run's ledger says why updates were refused. Are the devices online?",
        )
