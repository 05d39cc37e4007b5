"""Asynchronous training with a buffer: FedBuff (Nguyen et al. 2022, arXiv:2106.06639).

A number of devices train at any time, each from the weights that were newest when it was asked. Every `size` updates
the server moves: w ← w + rate · Σ nᵢ·s(τᵢ)·Δᵢ / Σ nᵢ with s(τ) = 1/√(1 + τ), where Δᵢ is what device i changed, nᵢ its
examples and τᵢ the versions that were committed while it trained. Nobody waits for the slowest.

Each such move is a round in the ledger, with a checkpoint. What arrives when decides the model, so a run with a buffer
is no function of its seed; after a kill it goes on from the last commit, and what was under way is lost. The updates
of one buffer are combined in the order of their devices, so their order within it leaves no trace.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from cloud.training.asking import Carried, Roster, carry, content_of
from cloud.training.cohort import local_seed, ticket
from cloud.training.draws import candidates
from cloud.training.events import (
    AnyEvent,
    ClientAsked,
    DeviceScore,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateRefused,
)
from cloud.training.gate import Gate, check_loss, metrics_of, read_score
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.quarantine import Conduct
from cloud.training.refusals import refusal, silence
from cloud.training.rules import Mean, combined
from cloud.training.schedule import Forgetful, condition_of
from cloud.training.selection import eligible
from cloud.training.spec import RunSpec
from cloud.training.staleness import weight
from cloud.training.updates import UpdateStore
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.federation import Condition
from shared.tasks.records import FLAT, flatten, read_arrays, unflatten
from shared.tasks.weights import form, weights_digest

POLL_S = 0.2


class _Flight(msgspec.Struct, frozen=True, kw_only=True):
    """A device that trains."""

    device: str
    version: int
    since: float


@dataclass(slots=True)
class _Buffer:
    """Updates since the last commit, added up."""

    updates: UpdateStore
    """What each changed, with its weight."""

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
        self._versions: dict[int, Gate] = {}
        prior = {name: member.strikes for name, member in roster.members.items()}
        self._conduct = Conduct.of(ledger.events(), limit=spec.gate.strikes, prior=prior)
        self._alive = clock.monotonic()

    def run(self, grid: Grid) -> None:
        """Train until the spec's number of commits is reached.

        Raises:
            TransportError: for two time-outs nothing usable came; another attempt goes on from the last commit.
        """
        while self.state.round < self._spec.rounds:
            buffer = self._open()
            with buffer.updates:
                while len(buffer.updates) < self._spec.buffer.size:
                    self._fill(grid)
                    if not self._turn(grid, buffer):
                        self._sleep(POLL_S)
                self._commit(grid, buffer)
        _forget(grid, self._flights)

    def _open(self) -> _Buffer:
        flat = flatten(self.state.weights)
        least = self.state.round - self._spec.buffer.staleness
        self._versions = {version: one for version, one in self._versions.items() if version >= least}
        self._versions[self.state.round] = Gate.around({FLAT: flat}, self._spec.gate)
        number = self.state.round + 1
        out = self._conduct.quarantined(self._registered, before=number)
        known = candidates(self._ledger.events(), self._registered)
        known = {device: one for device, one in known.items() if device not in out}
        self._able, excluded = eligible(self._spec.selection, known)
        flying = sorted({flight.device for flight in self._flights.values()})
        self._tell(RoundStarted(at=self._clock.now(), round=number, cohort=flying, excluded=excluded, quarantined=out))
        return _Buffer(UpdateStore(self._ledger.directory, size=flat.size), self._clock.monotonic())

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
        )
        self._tell(ClientAsked(at=self._clock.now(), round=number, device=device))
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
            if len(buffer.updates) >= self._spec.buffer.size:
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
                _forget(grid, [name])
                number = self.state.round + 1
                self._refuse(buffer, silence(at=self._clock.now(), round_=number, device=flight.device))
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
            self._tell(UpdateLate(at=self._clock.now(), round=number, device=flight.device))
            return
        gate = self._versions[flight.version]
        try:
            content = content_of(reply)
            update = read_arrays(content.get(fed.ARRAYS))
            metrics = metrics_of(content)
            registered = self._registered[flight.device]
            admitted = gate.admit(update, metrics.get(fed.EXAMPLES), registered=registered)
            loss = check_loss(metrics.get(fed.LOSS))
        except (RefusedError, ContractError) as error:
            self._refuse(buffer, refusal(error, at=self._clock.now(), round_=number, device=flight.device))
            return
        examples = admitted.examples
        # a quick device may bring two updates to one buffer: each is a place of its own
        place = f"{flight.device}#{self._asked[flight.device]}"
        buffer.updates.add(place, admitted.update[FLAT] - gate.model[FLAT], examples=weight(examples, stale))
        buffer.examples += examples
        buffer.losses[place] = (examples, loss)
        self._alive = self._clock.monotonic()
        self._tell(
            UpdateAccepted(
                at=self._clock.now(),
                round=number,
                device=flight.device,
                examples=examples,
                loss=loss,
                staleness=stale,
                way=admitted.way,
            )
        )

    def _refuse(self, buffer: _Buffer, refused: UpdateRefused) -> None:
        buffer.refused += 1
        self._tell(refused)

    def _tell(self, event: AnyEvent) -> None:
        """Make an event durable, and learn from it."""
        self._ledger.append(event)
        self._conduct.take(event)

    def _commit(self, grid: Grid, buffer: _Buffer) -> None:
        share = sum(buffer.updates.examples) / weight(buffer.examples, 0) * self._spec.buffer.rate
        before = flatten(self.state.weights).astype(np.float64)
        moved = (before + share * combined(Mean(), buffer.updates).astype(np.float64)).astype(np.float32)
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
        self._tell(
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


def _forget(grid: Grid, names: Iterable[str]) -> None:
    if isinstance(grid, Forgetful):
        grid.forget(names)
