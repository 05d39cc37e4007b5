"""The rounds of a private run: Flower's loop as in any run, with a sum in place of updates.

    configure_train   can the population pay? → setup → share keys → the messages that have devices train
    aggregate_train   masked updates → unmask → check → pay → noise → step → checkpoint

A sum is paid for before a byte of the model that is made of it is written, so whatever a kill leaves on this disk
or on a device has been paid for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid as Nodes
from numpy.typing import NDArray

from cloud.training.asking import Carried
from cloud.training.cohort import local_seed
from cloud.training.events import DeviceScore, RoundFinished, UpdateMasked
from cloud.training.ledger import Checkpoint
from cloud.training.optimisers import step
from cloud.training.private.accountant import BudgetError
from cloud.training.private.collect import Collection, Sum
from cloud.training.private.purse import Purse
from cloud.training.private.secret import influence, noisy, release_of, run_secret
from cloud.training.private.terms import Noise, Private, Where
from cloud.training.refusals import refusal, silence
from cloud.training.schedule import Closable
from cloud.training.spec import RunSpec
from cloud.training.strategy import RunStrategy, _Round
from shared import federation as fed
from shared.codec import pack
from shared.errors import ContractError, HinterlandError, RefusedError, TransportError
from shared.masking import STEPS, Grid, width_for
from shared.secagg import LOSS_REACH, SECAGG, STAGE, TAIL, Masked
from shared.tasks.weights import form

TAILS = 6.0
"""Standard deviations of local noise that the fixed-point numbers leave room for."""


class PrivateStrategy(RunStrategy):
    """The rounds after a checkpoint, of a spec with terms of privacy."""

    def __init__(self, terms: Private, **parts: Any) -> None:
        """Prepare the rounds; `parts` are those of `RunStrategy`."""
        super().__init__(parts["spec"], **{name: part for name, part in parts.items() if name != "spec"})
        self._terms = terms
        self._noise = terms.noise
        self._purse: Purse | None = None
        if terms.noise:
            self._purse = Purse(
                terms,
                terms.noise,
                run=self._spec.run,
                task=self._spec.task,
                ledger=self._ledger,
                clock=self._clock,
            )
        self._collection: Collection | None = None
        self._delivered: list[str] = []
        self._loss = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Nodes
    ) -> Iterable[Message]:
        """Set the round up and hand out what devices train on.

        Raises:
            BudgetError: the population cannot pay for this round; it was not begun.
            TransportError: too few devices are left.
        """
        number = self._begin + server_round
        if self._purse:
            self._purse.afford(number)
        current = self._open(number, arrays)
        if isinstance(grid, Closable):
            grid.closed = bool  # whoever is not waited for costs shares of all the others
        self._delivered, self._loss = [], 0.0
        self._collection = self._collect(current, grid)
        trainers = self._collection.share(current.cohort)
        if self._purse and self._noise and self._noise.where is Where.LOCAL:
            # each request makes devices draw fresh noise, so each one is a disclosure, even of the same update
            self._purse.pay(number, f"request {self._purse.payments(number) + 1}")
        weights = Carried(arrays, form(self.state.weights))
        return [self._masked(device, number, weights, sealed) for device, sealed in trainers.items()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add masked updates up as they arrive, open the sum, move the model, write the checkpoint.

        Raises:
            TransportError: nothing can be opened, or what was is no sum of updates; another attempt goes on from
                the last committed round.
            BudgetError: devices dropped out of a repeated round, whose other sum the population cannot pay for.
        """
        current, collection = self._current(), self._collecting()
        for device, reply in self._roster.answers(replies):
            try:
                collection.take(device, reply)
            except (RefusedError, ContractError) as error:
                self._out(current, device, error)
            else:
                self._tell(UpdateMasked(at=self._clock.now(), round=current.number, device=device))
        for device in current.cohort:
            if device not in collection.delivered and device not in current.refused:
                self._out(current, device, None)
        combined = (self._flat + self._change(current, collection.open())).astype(np.float32)
        state = step(self._spec.strategy, self._flat, combined, self.state.state, round_=current.number)
        self.state = Checkpoint(current.number, self.state.weights, state)
        self._ledger.write_checkpoint(self.state)
        return self.arrays(), MetricRecord({fed.LOSS: self._loss})

    def _out(self, current: _Round, device: str, error: HinterlandError | None) -> None:
        """Note that a device is out of the round; None is silence."""
        at, number = self._clock.now(), current.number
        if error is None:
            self._refuse(current, silence(at=at, round_=number, device=device))
        else:
            self._refuse(current, refusal(error, at=at, round_=number, device=device))

    def _collect(self, current: _Round, nodes: Nodes) -> Collection:
        return Collection(
            nodes=nodes,
            roster=self._roster,
            terms=self._terms,
            seed=self._spec.seed,
            round=current.number,
            length=self._flat.size + TAIL,
            bits=self._grid(current.cohort).bits,
            refuse=lambda device, error: self._out(current, device, error),
        )

    def _grid(self, drawn: Iterable[str]) -> Grid:
        """The fixed-point numbers of a round."""
        noise, devices = self._noise, list(drawn)
        if noise is None:
            heaviest = sum(self._registered[device] for device in devices)
            return Grid(reach=self._terms.reach, bits=width_for(heaviest))
        room = TAILS * _local(noise) if noise.where is Where.LOCAL else 0.0
        return Grid(reach=noise.clip + room, bits=width_for(len(devices)))

    def _masked(self, device: str, number: int, weights: Carried, sealed: dict[str, bytes]) -> Message:
        noise, local, grid = self._noise, self._spec.local, self._grid(self._current().cohort)
        stage = Masked(
            sealed=sealed,
            reach=grid.reach,
            bits=grid.bits,
            most=self._registered[device],
            clip=noise.clip if noise else 0.0,
            noise=_local(noise) if noise and noise.where is Where.LOCAL else 0.0,
        )
        return self._roster.ask(
            SECAGG,
            device,
            weights=weights,
            fields={STAGE: pack(stage)},
            round=number,
            seed=local_seed(self._spec.seed, number, device),
            epochs=local.epochs,
            batch_size=local.batch_size,
            learning_rate=local.learning_rate,
            proximal=local.proximal,
            budget_s=self._spec.pace.budget_s,
        )

    def _change(self, current: _Round, found: Sum) -> NDArray[np.float64]:
        """The mean update out of a sum: checked, paid for, with noise."""
        grid = self._grid(current.cohort)
        whole = grid.whole(found.total)
        total, weight, loss = whole[:-TAIL], int(whole[-TAIL]), int(whole[-1])
        self._check(current, found.delivered, total, weight)
        noise = self._noise
        if noise and noise.where is Where.CENTRAL and self._purse:
            secret = run_secret(self._ledger.directory)
            release = release_of(found.total[:-TAIL], round_=current.number, secret=secret)
            self._purse.pay(current.number, release)
            deviation = noise.multiplier * influence(noise.clip, grid, len(total))
            total = noisy(total, grid, deviation=deviation, secret=secret, release=release)
        self._delivered = found.delivered
        self._loss = 0.0 if noise else loss / STEPS * LOSS_REACH / weight
        mean: NDArray[np.float64] = total.astype(np.float64) * (grid.step / weight)
        return mean

    def _check(self, current: _Round, delivered: list[str], total: NDArray[np.int64], weight: int) -> None:
        """All that a sum shows of a bad update: the weight, and the reach of the numbers."""
        most = len(delivered) if self._noise else sum(self._registered[device] for device in delivered)
        if not len(delivered) <= weight <= most or int(np.abs(total).max(initial=0)) > weight * STEPS:
            raise TransportError(
                f"round {current.number}: what {len(delivered)} devices delivered is no sum of updates",
                hint="One of them sends nonsense, and masks hide which one. Leave devices out until it is found.",
            )

    def _finished(self, current: _Round, scores: dict[str, DeviceScore]) -> RoundFinished:
        finished = super()._finished(current, scores)
        return msgspec.structs.replace(
            finished,
            train_loss=self._loss,
            accepted=len(self._delivered),
            contributors={device: self._registered[device] for device in self._delivered},
            refused=len(current.cohort) - len(self._delivered) - current.vetoed,
        )

    def _collecting(self) -> Collection:
        if self._collection is None:
            raise RuntimeError("Flower's loop configures a round before it aggregates one")
        return self._collection


def strategy_of(spec: RunSpec, **parts: Any) -> RunStrategy:
    """The strategy that a spec asks for; `parts` are those of `RunStrategy`."""
    if spec.privacy is None:
        return RunStrategy(spec, **parts)
    return PrivateStrategy(spec.privacy, spec=spec, **parts)


def run_rounds(strategy: RunStrategy, nodes: Nodes, arrays: ArrayRecord, *, rounds: int, timeout: float) -> str:
    """Let Flower drive the rounds; return why they ended before the last one, empty if they did not.

    Raises:
        BudgetError: not even one round was affordable, so there is no model to go on with.
    """
    try:
        strategy.start(nodes, arrays, num_rounds=rounds, timeout=timeout)
    except BudgetError as error:
        if strategy.state.round == 0:
            raise
        return str(error)
    return ""


def _local(noise: Noise) -> float:
    """Standard deviation of a device's own noise: two updates within the bound lie at most twice that apart."""
    return noise.multiplier * 2.0 * noise.clip
