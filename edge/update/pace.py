"""How much to ask for at once, when to ask again, and when to give up: pure bookkeeping of a download."""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 2
"""Chunks asked for at once on the slowest link: one on its way, one behind it."""

FIRST = 4
"""Chunks asked for before anything is known of the link."""

WINDOW = 128
"""Most chunks asked for at once: 32 MiB, half of what the broker queues for one client."""

SOON_S, LATE_S = 1.0, 2.0
"""A chunk that comes sooner after it was asked for lets one more be asked for; one that comes later, one less.

So the window holds what the link brings in one to two seconds, and acknowledgements and metadata, which queue behind
it in the broker, are never later than that. Delay as the signal: Brakmo and Peterson, TCP Vegas, 1995.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what."""

    silence_s: float = 1.0
    """Seconds without a chunk before asking again, to which a growing back-off and the link's own delay are added."""

    most_s: float = 30.0
    """Most seconds of that back-off."""

    give_up_s: float = 120.0
    """Seconds without a chunk, while connected, after which this attempt ends."""

    floor_bytes: int = 150_000
    floor_s: float = 300.0
    """An attempt that brings fewer than `floor_bytes` in this time, while connected, ends: 500 bytes a second."""

    put_off_s: float = 86_400.0
    """Seconds for which a coordinator may say that it will send later."""


class Window:
    """Which chunks are on their way, and how many may be."""

    def __init__(self, *, first: int = FIRST, most: int = WINDOW) -> None:
        self.size = first
        self._most = most
        self._asked: dict[int, float] = {}
        self.delay_s: float | None = None
        """What the last chunk that was asked for took; None before the first."""

    def __len__(self) -> int:
        return len(self._asked)

    @property
    def has_room(self) -> bool:
        """Whether to ask for more: once half of the window has come."""
        return len(self._asked) <= self.size // 2

    def room_for(self, missing: list[int]) -> list[int]:
        """Which of `missing` to ask for beside those that are on their way."""
        left = (index for index in missing if index not in self._asked)
        return [index for index, _ in zip(left, range(self.size - len(self._asked)), strict=False)]

    def asked(self, indices: list[int], *, at: float) -> None:
        """They were asked for at `at` (monotonic seconds)."""
        self._asked.update(dict.fromkeys(indices, at))

    def came(self, index: int, *, at: float) -> None:
        """A chunk came, asked for or not."""
        asked = self._asked.pop(index, None)
        if asked is None:
            return
        self.delay_s = at - asked
        if self.delay_s <= SOON_S:
            self.size = min(self._most, self.size + 1)
        elif self.delay_s > LATE_S:
            self.size = max(LEAST, self.size - 1)

    def refused(self, index: int) -> None:
        """A chunk came and was wrong: it may be asked for again at once."""
        self._asked.pop(index, None)

    def lost(self) -> None:
        """Nothing comes any more: what is on its way counts as lost, and less is asked for."""
        self._asked.clear()
        self.size = max(LEAST, self.size // 2)

    def silence_s(self, patience: Patience) -> float:
        """Seconds without a chunk after which it is lost, before any back-off."""
        if self.delay_s is None:
            return 3 * patience.silence_s
        return patience.silence_s + 2 * self.delay_s


class Floor:
    """Least progress that an attempt must make."""

    def __init__(self, patience: Patience, *, received: int, at: float) -> None:
        self._patience = patience
        self.restart(received=received, at=at)

    def restart(self, *, received: int, at: float) -> None:
        """Count from here: without a connection nothing can come."""
        self._received, self._since = received, at

    def broken(self, *, received: int, at: float) -> bool:
        """Whether less came than must have by now."""
        if at - self._since < self._patience.floor_s:
            return False
        if received - self._received < self._patience.floor_bytes:
            return True
        self.restart(received=received, at=at)
        return False
