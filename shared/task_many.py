"""What a model family may offer beyond the port: many clients of a round as one computation.

Simulations use it where it is there, and train one client after the other where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.task import Examples, Recipe, Score, Trained


@runtime_checkable
class TrainsMany(Protocol):
    """A `TaskAdapter` whose clients can be trained and scored together."""

    def train_many(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        clients: Sequence[tuple[Examples, Recipe]],
        *,
        workers: int = 1,
    ) -> Iterator[tuple[int, Trained]]:
        """Yield each client's position and what `train` gives for it, up to float rounding; in any order."""
        ...

    def evaluate_many(self, weights: Mapping[str, NDArray[np.float32]], parts: Sequence[Examples]) -> list[Score]:
        """What `evaluate` gives for each part, up to float rounding."""
        ...
