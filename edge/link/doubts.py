"""How often a file that failed its proof is asked for again: pure judgement."""

from __future__ import annotations

from collections import OrderedDict

FIRST_S = 2.5
"""Seconds until the second question; half of the first pause of an update, whose attempts must find it over."""

MOST_S = 300.0

FORGET_S = 3600.0
"""Seconds without a question after which the next one counts as the first."""

MOST_FILES = 64


class Doubts:
    """When each doubted file was asked for last, and how often: whoever alters every copy costs few questions."""

    def __init__(self) -> None:
        self._asked: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def ask(self, name: str, *, now: float) -> bool:
        """Whether to ask for `name` now, which then counts as asked; `now` is monotonic, in seconds."""
        times, at = self._asked.get(name, (0, now))
        if now - at > FORGET_S:
            times = 0
        if times and now - at < pause_s(times):
            return False
        self._asked[name] = times + 1, now
        self._asked.move_to_end(name)
        while len(self._asked) > MOST_FILES:
            self._asked.popitem(last=False)
        return True


def pause_s(times: int) -> float:
    """Seconds to leave a file alone that was asked for `times` times."""
    return min(MOST_S, FIRST_S * 2.0 ** min(times - 1, 16))
