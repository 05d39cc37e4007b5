"""The terms of training: what a model line may say of its runs, and what each run's specification says."""

from __future__ import annotations

import msgspec

from cloud.central.terms import WarmStart
from cloud.training.gate_terms import GateTerms
from cloud.training.optimisers import Momentum, Strategy
from cloud.training.pace import Pace
from cloud.training.private.terms import Private
from cloud.training.rules import Mean, Rule
from cloud.training.selection import Selection
from cloud.training.staleness import Buffer
from shared.tasks.compression import Compression


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part in a round, how updates travel, and how they become a model."""

    fraction: float = 1.0
    """Share of the members that a round's cohort draws, 0 to 1."""

    local_parts: tuple[str, ...] = ()
    """Prefixes of the tensors that stay on the devices (`shared.tasks.local_parts`), for example `head.`."""

    compression: Compression = Compression()
    """How updates travel; without loss unless it is named."""

    rule: Rule = Mean()
    """How the updates of a round become one."""

    strategy: Strategy = Momentum()
    """How the global model follows that one."""

    round_timeout_s: float = 60.0
    """After this a round closes over whoever answered."""

    selection: Selection = Selection()
    """Whom rounds draw."""

    pace: Pace = Pace()
    """How long rounds wait. By default the result stays a function of the spec and the data alone."""

    buffer: Buffer = Buffer()
    """Asynchronous training; by default rounds are synchronous."""

    gather_timeout_s: float = 30.0
    """How long the run waits at its start for all members to be online, before it goes on with a quorum."""

    privacy: Private | None = None
    """Secure aggregation and differential privacy; None lets the coordinator see each update."""

    warm_start: WarmStart | None = None
    """First weights from data of the company's own, for runs that begin afresh; None begins with random ones."""

    gate: GateTerms = GateTerms()
    """How strict the gate is with client updates."""

    purpose: str = "training"
    """What it is for, a name; told to devices, whose owners may not allow it."""
