"""How large a share of a camera's frames keeps its answers in time: fewer when they are late, and slowly more again.

Additive increase and multiplicative decrease (Chiu and Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks", 1989): cameras that share a model find shares at which all are in time.
"""

from __future__ import annotations

from edge.pipelines.sources.port import Drop

PERIOD_S = 1.0
"""Between two looks."""

LATE = 0.1
"""Share of answers that may be late before frames are left out."""

EASY = 0.7
"""Of the target: when every answer came within this, more frames are taken again."""

LESS, MORE = 0.8, 0.05
"""What the share is multiplied by, and what is added to it."""

LEAST = 1 / 32
"""No camera is left blind."""


class Tempo:
    """Finds the share, from 1/32 to 1."""

    def __init__(self, *, target_ms: float) -> None:
        """Take the most milliseconds from a frame to its answer."""
        self.share = 1.0
        self._target = target_ms
        self._begun: float | None = None
        self._answers = 0
        self._late = 0
        self._worst = 0.0

    def answered(self, latency_ms: float, *, at: float) -> None:
        """An answer came after so long, `at` monotonic seconds."""
        if self._begun is None:
            self._begun = at
        self._answers += 1
        self._late += latency_ms > self._target
        self._worst = max(self._worst, latency_ms)
        if at - self._begun >= PERIOD_S:
            self._decide()
            self._begun, self._answers, self._late, self._worst = at, 0, 0, 0.0

    def _decide(self) -> None:
        if self._late > LATE * self._answers:
            self.share = max(LEAST, self.share * LESS)
        elif self._worst < EASY * self._target:
            self.share = min(1.0, self.share + MORE)


class Thinning:
    """A gate that lets a share of the frames pass, evenly spread; the smaller of what tempo and device allow.

    Called in the decoding thread; the shares are set in the pipeline's loop.
    """

    def __init__(self, tempo: Tempo | None = None) -> None:
        """Without a tempo only the device's limit counts."""
        self._tempo = tempo
        self.limit = 1.0
        """Most that the device lets pass, 0 to 1."""

        self._credit = 1.0

    @property
    def share(self) -> float:
        """What passes now."""
        return min(self.limit, self._tempo.share if self._tempo else 1.0)

    def answered(self, latency_ms: float, *, at: float) -> None:
        """As the tempo's."""
        if self._tempo is not None:
            self._tempo.answered(latency_ms, at=at)

    def __call__(self, _frame: object, _at: float) -> Drop | None:
        self._credit = min(self._credit, 1.0) + self.share
        if self._credit < 1.0:
            return Drop.SKIPPED
        self._credit -= 1.0
        return None
