"""Asynchronous training with a buffer: FedBuff (Nguyen et al. 2022, arXiv:2106.06639).

A number of devices train at any time, each from the weights that were newest when it was asked. Every `size` updates
the server moves: w ← w + rate · Σ nᵢ·s(τᵢ)·Δᵢ / Σ nᵢ with s(τ) = 1/√(1 + τ), where Δᵢ is what device i changed, nᵢ its
examples and τᵢ the versions that were committed while it trained. Nobody waits for the slowest.

Each such move is a round in the ledger, with a checkpoint. What arrives when decides the model, so a run with a buffer
is no function of its seed; after a kill it goes on from the last commit, and what was under way is lost. The updates
of one buffer are added up exactly, so their order within it leaves no trace.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from cloud.training.aggregate import RunningMean
from cloud.training.asking import Carried, Roster, carry, content_of
from cloud.training.cohort import local_seed, ticket
from cloud.training.draws import candidates
from cloud.training.events import (
    ClientAsked,
    DeviceScore,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateRefused,
)
from cloud.training.gate import check_loss, check_update, metrics_of, read_score
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.schedule import condition_of
from cloud.training.selection import eligible
from cloud.training.spec import RunSpec
from cloud.training.staleness import weight
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.federation import Condition
from shared.tasks.records import FLAT, flatten, read_arrays, unflatten
from shared.tasks.weights import form, weights_digest

POLL_S = 0.2

Flat = dict[str, NDArray[np.float32]]


class _Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A device that trains."""

    device: str
    version: int
    since: float


@dataclass(slots=True)
class _Buffer:
    """Updates since the last commit, added up."""

    sum: RunningMean
    began: float
    examples: int = 0
    losses: dict[str, tuple[int, float]] = field(default_factory=dict)
    refused: int = 0
    late: int = 0


class BufferedTraining:
    """The commits after a checkpoint, over any grid whose messages are pushed and pulled."""

    def __init__(
        self,
        spec: RunSpec,
        *,
        roster: Roster,
        registered: dict[str, int],
        begin: Checkpoint,
        ledger: RunLedger,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare what comes after `begin`; `registered` maps each device that takes part to its examples."""
        self.state = begin
        self._spec, self._roster, self._registered = spec, roster, registered
        self._ledger, self._clock, self._sleep = ledger, clock, sleep
        self._flights: dict[str, _Flight] = {}
        self._asked = dict.fromkeys(registered, 0)
        for event in ledger.events():
            if isinstance(event, ClientAsked) and event.device in self._asked:
                self._asked[event.device] += 1
        self._versions: dict[int, Flat] = {}
        self._alive = clock.monotonic()

    def run(self, grid: Grid) -> None:
        """Train until the spec's number of commits is reached.

        Raises:
            TransportError: for two time-outs nothing usable came; another attempt goes on from the last commit.
        """
        while self.state.round < self._spec.rounds:
            buffer = self._open()
            while len(buffer.losses) < self._spec.buffer.size:
                self._fill(grid)
                if not self._turn(grid, buffer):
                    self._sleep(POLL_S)
            self._commit(grid, buffer)

    def _open(self) -> _Buffer:
        flat = flatten(self.state.weights)
        least = self.state.round - self._spec.buffer.staleness
        self._versions = {version: one for version, one in self._versions.items() if version >= least}
        self._versions[self.state.round] = {FLAT: flat}
        known = candidates(self._ledger.events(), self._registered)
        self._able, excluded = eligible(self._spec.selection, known)
        flying = sorted({flight.device for flight in self._flights.values()})
        self._ledger.append(
            RoundStarted(at=self._clock.now(), round=self.state.round + 1, cohort=flying, excluded=excluded)
        )
        return _Buffer(RunningMean({FLAT: flat}), self._clock.monotonic())

    def _fill(self, grid: Grid) -> None:
        """Ask as many devices as may train at once: those asked least, by lot among equals."""
        flying = {flight.device for flight in self._flights.values()}
        idle = [device for device in self._able if device not in flying]
        number = self.state.round + 1
        idle.sort(key=lambda device: (self._asked[device], ticket(self._spec.seed, number, device)))
        chosen = idle[: max(self._spec.buffer.concurrency - len(flying), 0)]
        weights = carry(self.state.weights) if chosen else None
        for device in chosen:
            self._ask(grid, device, weights)

    def _ask(self, grid: Grid, device: str, weights: Carried | None) -> None:
        self._asked[device] += 1
        local, number = self._spec.local, self.state.round + 1
        message = self._roster.ask(
            fed.TRAIN,
            device,
            weights=weights,
            round=number,
            seed=local_seed(self._spec.seed, self._asked[device], device),
            epochs=local.epochs,
            batch_size=local.batch_size,
            learning_rate=local.learning_rate,
            proximal=local.proximal,
            budget_s=self._spec.pace.budget_s,
            run=self._spec.run,
        )
        self._ledger.append(ClientAsked(at=self._clock.now(), round=number, device=device))
        since = self._clock.monotonic()
        for name in grid.push_messages([message]):
            self._flights[name] = _Flight(device=device, version=self.state.round, since=since)

    def _turn(self, grid: Grid, buffer: _Buffer) -> bool:
        """Take in what has arrived, up to a full buffer; return whether anything had.

        Raises:
            TransportError: nothing usable came for too long.
        """
        arrived = False
        for name in list(self._flights):
            if len(buffer.losses) >= self._spec.buffer.size:
                break
            for device, reply in self._roster.answers(grid.pull_messages([name])):
                arrived = True
                flight = self._flights.pop(name, None)
                if flight is not None and flight.device == device:
                    self._take(buffer, flight, reply)
        now = self._clock.monotonic()
        for name, flight in list(self._flights.items()):
            if now - flight.since > self._spec.round_timeout_s:
                del self._flights[name]
                self._refuse(buffer, flight.device, "no answer before the deadline")
        if now - self._alive > 2 * self._spec.round_timeout_s:
            raise TransportError(
                f"round {self.state.round + 1}: no usable update for {now - self._alive:.0f} s",
                hint="The run's ledger says why updates were refused. Are the devices online?",
            )
        return arrived

    def _take(self, buffer: _Buffer, flight: _Flight, reply: Message) -> None:
        """Add one update to the buffer, or record why not."""
        number, stale = self.state.round + 1, self.state.round - flight.version
        if stale > self._spec.buffer.staleness:
            buffer.late += 1
            self._ledger.append(UpdateLate(at=self._clock.now(), round=number, device=flight.device))
            return
        model = self._versions[flight.version]
        try:
            content = content_of(reply)
            update = read_arrays(content.get(fed.ARRAYS))
            metrics = metrics_of(content)
            registered = self._registered[flight.device]
            examples = check_update(update, metrics.get(fed.EXAMPLES), model=model, registered=registered)
            loss = check_loss(metrics.get(fed.LOSS))
        except (RefusedError, ContractError) as error:
            self._refuse(buffer, flight.device, str(error))
            return
        way = {name: values - model[name] for name, values in update.items()}
        buffer.sum.add(way, weight(examples, stale))
        buffer.examples += examples
        # a quick device may bring two updates to one buffer: each is a place of its own
        buffer.losses[f"{flight.device}#{self._asked[flight.device]}"] = (examples, loss)
        self._alive = self._clock.monotonic()
        self._ledger.append(
            UpdateAccepted(
                at=self._clock.now(),
                round=number,
                device=flight.device,
                examples=examples,
                loss=loss,
                staleness=stale,
            )
        )

    def _refuse(self, buffer: _Buffer, device: str, reason: str) -> None:
        buffer.refused += 1
        self._ledger.append(
            UpdateRefused(at=self._clock.now(), round=self.state.round + 1, device=device, reason=reason)
        )

    def _commit(self, grid: Grid, buffer: _Buffer) -> None:
        share = buffer.sum.examples / weight(buffer.examples, 0) * self._spec.buffer.rate
        before = flatten(self.state.weights).astype(np.float64)
        moved = (before + share * buffer.sum.mean()[FLAT].astype(np.float64)).astype(np.float32)
        number = self.state.round + 1
        self.state = Checkpoint(number, unflatten(moved, form(self.state.weights)), {})
        self._ledger.write_checkpoint(self.state)
        scores, conditions = self._scores(grid, number)
        examples = max(sum(score.examples for score in scores.values()), 1)
        contributors: dict[str, int] = {}
        for place, (count, _) in sorted(buffer.losses.items()):
            device = place.rpartition("#")[0]
            contributors[device] = contributors.get(device, 0) + count
        total = math.fsum(count * loss for count, loss in buffer.losses.values())
        self._ledger.append(
            RoundFinished(
                at=self._clock.now(),
                round=number,
                train_loss=total / buffer.examples,
                loss=sum(score.loss_sum for score in scores.values()) / examples,
                accuracy=sum(score.correct for score in scores.values()) / examples,
                devices=scores,
                accepted=len(buffer.losses),
                refused=buffer.refused,
                late=buffer.late,
                contributors=contributors,
                conditions=conditions,
                digest=weights_digest(self.state.weights),
                seconds=self._clock.monotonic() - buffer.began,
            )
        )

    def _scores(self, grid: Grid, number: int) -> tuple[dict[str, DeviceScore], dict[str, Condition]]:
        """Hold-out scores of the devices that do not train now: nobody waits for those that do."""
        flying = {flight.device for flight in self._flights.values()}
        idle = sorted(self._registered.keys() - flying)
        weights = carry(self.state.weights)
        asked = [self._roster.ask(fed.EVALUATE, device, weights=weights, round=number) for device in idle]
        scores: dict[str, DeviceScore] = {}
        conditions: dict[str, Condition] = {}
        replies = grid.send_and_receive(asked, timeout=self._spec.round_timeout_s)
        for device, reply in self._roster.answers(replies):
            try:
                content = content_of(reply)
                scores[device] = read_score(content)
                conditions[device] = condition_of(content) or Condition()
            except (RefusedError, ContractError):
                continue  # its training is judged by the gate; a missing score takes nothing away
        return dict(sorted(scores.items())), dict(sorted(conditions.items()))
