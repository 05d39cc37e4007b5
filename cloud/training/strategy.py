"""The rounds of a run, driven by Flower's own `Strategy.start` over any `Grid`.

Flower's loop stays as it is. What differs from its `FedAvg`: the cohort is drawn by device, each device gets a
seed of its own, every update passes the gate, the mean is exact and holds no update, and what happened is in the
ledger before the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from cloud.training.aggregate import RunningMean, step
from cloud.training.asking import Carried, Roster, content_of
from cloud.training.cohort import cohort, local_seed
from cloud.training.events import (
    AnyEvent,
    Cause,
    DeviceScore,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateRefused,
)
from cloud.training.gate import Gate, check_loss, metrics_of, read_score
from cloud.training.gate_terms import clip_bound
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.quarantine import Conduct
from cloud.training.refusals import refusal, silence
from cloud.training.spec import RunSpec
from cloud.training.unpacking import Unpacking
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.tasks.records import FLAT, flatten, to_record, unflatten
from shared.tasks.weights import form, weights_digest


@dataclass(slots=True)
class _Round:
    """A round in progress."""

    number: int
    started: float
    cohort: list[str]
    gate: Gate
    """Around the global weights as they were sent."""

    mean: RunningMean
    losses: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Accepted device → its examples and training loss."""

    refused: dict[str, Cause] = field(default_factory=dict)

    @property
    def vetoed(self) -> int:
        """Devices of the cohort whose owners did not allow it."""
        return sum(cause is Cause.VETOED for cause in self.refused.values())

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
        self._unpacking = Unpacking(form(begin.weights), local_parts=spec.local_parts, compression=spec.compression)
        self._begin = begin.round
        self._spec = spec
        self._roster = roster
        self._registered = dict(registered)
        self._ledger = ledger
        prior = {name: member.strikes for name, member in roster.members.items()}
        self.conduct = Conduct.of(ledger.events(), limit=spec.gate.strikes, prior=prior)
        self._clock = clock
        self._round: _Round | None = None

    def summary(self) -> None:
        """Say nothing: the ledger tells more than Flower's log."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        number = self._begin + server_round
        out = self.conduct.quarantined(self._registered, before=number)
        drawn = cohort(self._spec.seed, number, self._registered.keys() - set(out), self._spec.fraction)
        flat = {FLAT: flatten(self.state.weights)}
        gate = Gate.around(flat, self._spec.gate, bound=clip_bound(self._spec.gate, self.conduct.ways))
        self._round = _Round(number, self._clock.monotonic(), drawn, gate, RunningMean(flat))
        self._tell(RoundStarted(at=self._clock.now(), round=number, cohort=drawn, quarantined=out))
        weights = Carried(arrays, form(self.state.weights))
        return [self._training(device, number, weights) for device in drawn]

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
        for device in current.cohort:
            if device not in current.losses and device not in current.refused:
                self._refuse(current, silence(at=self._clock.now(), round_=current.number, device=device))
        _check_quorum(current, self._spec.min_devices)
        mean = unflatten(current.mean.mean()[FLAT], form(self.state.weights))
        weights, velocity = step(self.state.weights, mean, self.state.velocity, momentum=self._spec.server_momentum)
        self.state = Checkpoint(current.number, weights, velocity)
        self._ledger.write_checkpoint(self.state)
        return to_record(weights), MetricRecord({fed.LOSS: current.train_loss})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        number = self._begin + server_round
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
                scores[device] = read_score(content_of(reply))
            except RefusedError as error:
                self._tell(
                    refusal(error, at=self._clock.now(), round_=current.number, device=device, what="evaluation")
                )
        finished = self._finished(current, dict(sorted(scores.items())))
        self._tell(finished)
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
            local_parts=self._spec.local_parts,
            compression=self._spec.compression,
        )

    def _take(self, current: _Round, device: str, reply: Message) -> None:
        """Add one update to the mean, or record why not."""
        if device not in current.cohort or device in current.losses:
            return
        try:
            content = content_of(reply)
            update = self._unpacking.read(content, current.gate.model)
            metrics = metrics_of(content)
            admitted = current.gate.admit(update, metrics.get(fed.EXAMPLES), registered=self._registered[device])
            loss = check_loss(metrics.get(fed.LOSS))
        except (RefusedError, ContractError) as error:
            self._refuse(current, refusal(error, at=self._clock.now(), round_=current.number, device=device))
            return
        current.mean.add(admitted.update, admitted.examples)
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
            refused=len(current.cohort) - len(current.losses) - current.vetoed,
            vetoed=current.vetoed,
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
