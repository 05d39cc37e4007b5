"""What is trained, by whom and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import RefusedError

TASKS = ("fashion", "fashion-linear")
"""Model families that learn from Fashion-MNIST."""


class GridKind(StrEnum):
    """Who carries the messages."""

    VECTORISED = "vectorised"
    SEQUENTIAL = "sequential"
    RAY = "ray"


class StrategyKind(StrEnum):
    """Flower's strategies, with Flower's own settings."""

    FEDAVG = "fedavg"
    FEDAVGM = "fedavgm"
    FEDADAM = "fedadam"
    FEDYOGI = "fedyogi"
    FEDMEDIAN = "fedmedian"
    FEDTRIMMEDAVG = "fedtrimmedavg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A simulated run. Every client takes part in every round."""

    task: str = "fashion"
    clients: int = 100
    rounds: int = 3
    alpha: float = 0.5
    """Of the Dirichlet distribution of class mixes: 0.1 gives clients few classes, 100 gives all the same mix."""

    strategy: StrategyKind = StrategyKind.FEDAVG
    grid: GridKind = GridKind.VECTORISED
    images: int = 60_000
    """Dealt to all clients together; a fifth of each share is held out."""

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05

    def check(self) -> Plan:
        """Return the plan if it can be played.

        Raises:
            RefusedError: a number or the task cannot be used.
        """
        if self.task not in TASKS:
            raise RefusedError(f"{self.task} does not learn from Fashion-MNIST", hint=f"Use {' or '.join(TASKS)}.")
        if self.clients < 2 or self.clients > self.images // 10:
            raise RefusedError(
                f"{self.clients} clients cannot share {self.images} images", hint="Each needs ten; two are the fewest."
            )
        if self.rounds < 1 or not self.alpha > 0:
            raise RefusedError("a run needs a round, and a skew above 0", hint="See --rounds and --alpha.")
        return self
