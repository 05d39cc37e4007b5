"""The rounds of a run, driven by Flower's own `Strategy.start` over any `Grid`.

Flower's loop stays as it is. What differs from its `FedAvg`: the cohort is drawn by device, each device gets a
seed of its own, every update passes the gate, the mean is exact and holds no update, and what happened is in the
ledger before the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from cloud.training.aggregate import RunningMean, step
from cloud.training.asking import Carried, Roster, content_of
from cloud.training.cohort import local_seed
from cloud.training.events import DeviceScore, RoundFinished, UpdateAccepted, UpdateLate, UpdateRefused
from cloud.training.gate import check_loss, check_update, metrics_of, read_score
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.scaffold import CONTROL, ControlSum, control_in
from cloud.training.schedule import Closable, Window, condition_of, open_window
from cloud.training.spec import RunSpec
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.federation import Condition
from shared.tasks.records import FLAT, flatten, read_arrays, to_record, unflatten
from shared.tasks.weights import form, weights_digest


@dataclass(slots=True)
class _Round:
    """A round in progress."""

    number: int
    started: float
    cohort: list[str]
    model: dict[str, NDArray[np.float32]]
    """What every update must look like: the global weights as they were sent."""

    mean: RunningMean
    window: Window
    control: ControlSum | None
    """Of SCAFFOLD."""

    losses: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Accepted device → its examples and training loss."""

    refused: dict[str, str] = field(default_factory=dict)
    late: int = 0
    """Of the cohort, whom the round did not wait for."""

    conditions: dict[str, Condition] = field(default_factory=dict)

    @property
    def train_loss(self) -> float:
        """Mean over examples, added up by device name so that arrival order leaves no trace."""
        total = sum(self.losses[device][0] * self.losses[device][1] for device in sorted(self.losses))
        return total / max(self.mean.examples, 1)


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
        self.state = begin
        self._begin = begin.round
        self._spec = spec
        self._roster = roster
        self._registered = dict(registered)
        self._ledger = ledger
        self._clock = clock
        self._round: _Round | None = None

    def summary(self) -> None:
        """Say nothing: the ledger tells more than Flower's log."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        number = self._begin + server_round
        window = open_window(self._spec, self._ledger, self._registered, number, clock=self._clock)
        drawn = window.started.cohort
        flat = {FLAT: flatten(self.state.weights)}
        self._round = _Round(
            number, self._clock.monotonic(), drawn, flat, RunningMean(flat), window, self._control_sum(flat)
        )
        if isinstance(grid, Closable):
            grid.closed = lambda: window.is_closed(now=self._clock.monotonic())
        self._ledger.append(window.started)
        weights = Carried(arrays, form(self.state.weights))
        control = to_record({FLAT: control_in(self.state.velocity, flat[FLAT].size)})
        messages = [self._training(device, number, weights) for device in drawn]
        for message in messages if self._spec.local.scaffold else []:
            message.content[fed.CONTROL] = control
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Fold each update into the mean as it arrives, move the model, write the checkpoint.

        Raises:
            TransportError: too few usable updates; another attempt goes on from the last committed round.
        """
        current = self._current()
        for device, reply in self._roster.answers(replies):
            self._take(current, device, reply)
            current.window.accepted = len(current.losses)
            if current.window.is_closed(now=self._clock.monotonic()):
                break
        full = current.window.is_full()
        for device in current.cohort:
            if device in current.losses or device in current.refused:
                continue
            if full:
                current.late += 1
                self._ledger.append(UpdateLate(at=self._clock.now(), round=current.number, device=device))
            else:
                self._refuse(current, device, "no answer before the deadline")
        _check_quorum(current, self._spec.min_devices)
        mean = unflatten(current.mean.mean()[FLAT], form(self.state.weights))
        weights, velocity = step(self.state.weights, mean, self.state.velocity, momentum=self._spec.server_momentum)
        if current.control is not None:
            before = control_in(self.state.velocity, current.model[FLAT].size)
            rate, population = self._spec.local.learning_rate, len(self._registered)
            velocity = velocity | {CONTROL: current.control.control(before, rate=rate, population=population)}
        self.state = Checkpoint(current.number, weights, velocity)
        self._ledger.write_checkpoint(self.state)
        return to_record(weights), MetricRecord({fed.LOSS: current.train_loss})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        number = self._begin + server_round
        if isinstance(grid, Closable):
            grid.closed = bool  # hold-outs are scored by all
        weights = Carried(arrays, form(self.state.weights))
        return [self._roster.ask(fed.EVALUATE, d, weights=weights, round=number) for d in sorted(self._registered)]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Add the hold-out scores up and commit the round."""
        current = self._current()
        scores: dict[str, DeviceScore] = {}
        for device, reply in self._roster.answers(replies):
            try:
                content = content_of(reply)
                scores[device] = read_score(content)
            except RefusedError as error:
                self._refuse(current, device, f"evaluation: {error}")
            else:
                current.conditions[device] = condition_of(content) or Condition()
        finished = self._finished(current, dict(sorted(scores.items())))
        self._ledger.append(finished)
        return MetricRecord({fed.LOSS: finished.loss, "accuracy": finished.accuracy})

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
            learning_rate=local.learning_rate,
            proximal=local.proximal,
            controlled=local.scaffold,
            budget_s=self._spec.pace.budget_s,
            run=self._spec.run,
        )

    def _control_sum(self, flat: dict[str, NDArray[np.float32]]) -> ControlSum | None:
        return ControlSum(flat) if self._spec.local.scaffold else None

    def _take(self, current: _Round, device: str, reply: Message) -> None:
        """Add one update to the mean, or record why not."""
        if device not in current.cohort or device in current.losses:
            return
        try:
            content = content_of(reply)
            update = read_arrays(content.get(fed.ARRAYS))
            metrics = metrics_of(content)
            examples = check_update(
                update, metrics.get(fed.EXAMPLES), model=current.model, registered=self._registered[device]
            )
            loss = check_loss(metrics.get(fed.LOSS))
        except (RefusedError, ContractError) as error:
            self._refuse(current, device, str(error))
            return
        current.mean.add(update, examples)
        if current.control is not None:
            current.control.add(update, examples, self._spec.local)
        current.losses[device] = (examples, loss)
        self._ledger.append(
            UpdateAccepted(at=self._clock.now(), round=current.number, device=device, examples=examples, loss=loss)
        )

    def _refuse(self, current: _Round, device: str, reason: str) -> None:
        current.refused[device] = reason
        self._ledger.append(UpdateRefused(at=self._clock.now(), round=current.number, device=device, reason=reason))

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
            refused=len(current.cohort) - len(current.losses) - current.late,
            late=current.late,
            contributors={device: current.losses[device][0] for device in sorted(current.losses)},
            conditions=dict(sorted(current.conditions.items())),
            digest=weights_digest(self.state.weights),
            seconds=self._clock.monotonic() - current.started,
        )

    def _current(self) -> _Round:
        if self._round is None:
            raise RuntimeError("Flower's loop configures a round before it aggregates one")
        return self._round


def _check_quorum(current: _Round, least: int) -> None:
    if current.mean.updates < least:
        raise TransportError(
            f"round {current.number}: {current.mean.updates} usable updates of {len(current.cohort)},"
            f" at least {least} are needed",
            hint="The run's ledger says why updates were refused. Are the devices online?",
        )
