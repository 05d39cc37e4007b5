"""The stages of secure aggregation, asked over a Flower grid: out of masked updates, their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid as Nodes

from cloud.training.asking import Roster, content_of, read_answer
from cloud.training.private.graph import neighbours
from cloud.training.private.terms import Private
from cloud.training.private.unmask import unmask
from shared import federation as fed
from shared.codec import pack
from shared.errors import ContractError, HinterlandError, RefusedError, TransportError
from shared.masking import WIDTHS, Residues
from shared.secagg import (
    LEAST_NEIGHBOURS,
    SECAGG,
    STAGE,
    Opened,
    PublicKeys,
    SealedShares,
    Setup,
    ShareKeys,
    Stage,
    Unmask,
    read_key,
)
from shared.tasks.records import FLAT, read_arrays

A = TypeVar("A")


class Sum(NamedTuple):
    """What a round gave: nobody's update, everybody's sum."""

    total: Residues
    delivered: list[str]


@dataclass(slots=True, kw_only=True)
class Collection:
    """One round of secure aggregation, from the cohort to the sum."""

    nodes: Nodes
    roster: Roster
    terms: Private
    seed: int
    round: int
    length: int
    """Integers in a masked vector."""

    bits: int
    """Of the modulus."""

    refuse: Callable[[str, HinterlandError | None], None]
    """Called with a device that is out of the round and what was wrong with its answer; None if there was none."""

    keys: dict[str, PublicKeys] = field(default_factory=dict)
    graph: dict[str, list[str]] = field(default_factory=dict)
    sealed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Sender → receiver → a sealed pair of shares."""

    threshold: int = 0
    delivered: list[str] = field(default_factory=list)
    _total: Residues = field(init=False)

    def __post_init__(self) -> None:
        self._total = np.zeros(self.length, dtype=WIDTHS[self.bits])

    def share(self, cohort: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Stages 1 and 2; return who is to train, each with the shares that are meant for it.

        Raises:
            TransportError: too few devices are left.
        """
        degree = min(self.terms.neighbours or len(cohort), len(cohort) - 1)
        self.threshold = self.terms.shares(degree)
        wanted = Setup(threshold=self.threshold, neighbours=degree)
        self.keys = self._ask(PublicKeys, dict.fromkeys(cohort, wanted), _check_keys)
        self._least(self.keys, "made keys")
        self.graph = neighbours(sorted(self.keys), self.terms.neighbours, seed=self.seed, round_=self.round)
        asked = {
            device: ShareKeys(device=device, keys={peer: self.keys[peer] for peer in self.graph[device]})
            for device in sorted(self.keys)
        }

        def check(device: str, answer: SealedShares) -> None:
            if set(answer.sealed) != set(self.graph[device]):
                raise ContractError("shares are sealed for others than the neighbours")

        self.sealed = {device: a.sealed for device, a in self._ask(SealedShares, asked, check).items()}
        self._least(self.sealed, "shared their keys")
        return {
            device: {peer: self.sealed[peer][device] for peer in self.graph[device] if peer in self.sealed}
            for device in sorted(self.sealed)
        }

    def take(self, device: str, reply: Message) -> None:
        """Stage 3: add a masked update to the sum; it is not kept.

        Raises:
            RefusedError: it is none, the device is not of this round, or it came already.
            ContractError: its arrays cannot be read.
        """
        arrays: Mapping[str, Any] = read_arrays(content_of(reply).get(fed.ARRAYS))
        if device not in self.sealed or device in self.delivered:
            raise RefusedError("is not awaited")
        vector = arrays.get(FLAT, np.zeros(0))
        if list(arrays) != [FLAT] or (vector.shape, vector.dtype) != ((self.length,), WIDTHS[self.bits]):
            raise RefusedError(f"a masked update is not {self.length} integers of {self.bits} bits")
        self._total = self._total + vector
        self.delivered.append(device)

    def open(self) -> Sum:
        """Stage 4: have the masks' secrets opened, take the masks off the sum.

        Raises:
            TransportError: too few devices delivered or opened their shares.
            ContractError: what they opened rebuilds nothing.
        """
        self._least(self.delivered, "delivered")
        delivered, lost = sorted(self.delivered), sorted(self.sealed.keys() - set(self.delivered))
        asked = {
            device: Unmask(
                delivered=[peer for peer in self.graph[device] if peer in self.delivered],
                lost=[peer for peer in self.graph[device] if peer in lost],
            )
            for device in delivered
        }

        def check(device: str, answer: Opened) -> None:
            if sorted(answer.seeds) != asked[device].delivered or sorted(answer.keys) != asked[device].lost:
                raise ContractError("opened other shares than were asked for")

        opened = self._ask(Opened, asked, check)
        total = unmask(
            self._total,
            round_=self.round,
            bits=self.bits,
            keys=self.keys,
            graph=self.graph,
            sharing=self.sealed,
            delivered=delivered,
            opened=opened.values(),
            threshold=self.threshold,
        )
        return Sum(total, delivered)

    def _ask(self, kind: type[A], stages: Mapping[str, Stage], check: Callable[[str, A], object]) -> dict[str, A]:
        """Send each device its stage; whoever gives no usable answer is out of the round."""
        messages = [
            self.roster.ask(SECAGG, device, fields={STAGE: pack(stage)}, round=self.round)
            for device, stage in stages.items()
        ]
        good: dict[str, A] = {}
        wrong: dict[str, HinterlandError | None] = dict.fromkeys(stages)
        for device, reply in self._replies(messages):
            if device not in stages or device in good:
                continue
            try:
                answer = read_answer(reply, kind)
                check(device, answer)
            except (RefusedError, ContractError) as error:
                wrong[device] = error
            else:
                good[device] = answer
        for device in sorted(wrong.keys() - good.keys()):
            self.refuse(device, wrong[device])
        return good

    def _replies(self, messages: Sequence[Message]) -> Iterator[tuple[str, Message]]:
        return self.roster.answers(self.nodes.send_and_receive(messages, timeout=self.terms.stage_timeout_s))

    def _least(self, devices: Sized, did: str) -> None:
        least = max(self.terms.least, self.threshold + 1, LEAST_NEIGHBOURS + 1)
        if len(devices) < least:
            raise TransportError(
                f"round {self.round}: {len(devices)} devices {did}, at least {least} must, or nothing can be opened",
                hint="The run's ledger says what was wrong with the others. Are the devices online?",
            )


def _check_keys(_device: str, keys: PublicKeys) -> None:
    read_key(keys.sealing)
    read_key(keys.masking)
