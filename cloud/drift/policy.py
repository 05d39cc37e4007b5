"""When a score is an alarm. The defaults are measured; `docs/drift.md` has the table."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How one model line is watched."""

    bins: int = 10
    """Quantile bins of the reference that a feature is compared over."""

    top: int = 6
    """Features, the most shifted ones, whose mean is the score: a turned sensor moves some, noise moves few."""

    dependence: float = 2.0
    """Inputs that carry as much news as one independent input, at least 1: neighbouring windows are of one
    movement. Decides how much of a score is put down to chance, see `chance`."""

    confidence: float = 0.25
    """Weight of the shift of the model's confidence beside that of its inputs, 0 to 1."""

    threshold: float = 0.45
    """Score above which a window counts as shifted."""

    clear: float = 0.35
    """Score below which a window counts as usual again; between the two nothing changes."""

    persistence: int = 2
    """Shifted windows in a row that raise the alarm, and usual ones in a row that clear it."""

    least: int = 100
    """Inputs a verdict rests on; smaller windows are merged with the ones before them until they hold as many."""

    memory: int = 8
    """Most windows merged."""

    def chance(self, *, live: int, reference: int) -> float:
        """Mean PSI of a feature that did not shift, from `live` and `reference` inputs (see `shared.sketch.psi`)."""
        return (self.bins - 1) * self.dependence * (1 / max(1, live) + 1 / max(1, reference))
