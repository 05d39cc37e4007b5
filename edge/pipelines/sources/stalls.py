"""A stall of a live source: why nothing of use comes, when it is noticed, and when it is over."""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from shared.messages import Stall


class Reason(StrEnum):
    """Why nothing of use comes; the names are those of `shared.messages.Stall`."""

    UNREACHABLE = "unreachable"
    """It cannot be opened."""

    ENDED = "ended"
    """The other side closed it, or it broke off."""

    SILENT = "silent"
    """It is open, and nothing comes."""

    BROKEN = "broken"
    """Packets come, and none of them becomes a frame."""

    FROZEN = "frozen"
    """What comes is always exactly the same."""


def noticed(reason: Reason, text: str, *, for_s: float, now: float) -> Stall:
    """A stall that is noticed at Unix `now`, after `for_s` seconds (0 or more) without anything of use."""
    return Stall(reason=reason.value, since=now - max(0.0, for_s), noticed=now, text=text)


def ended(stall: Stall, *, now: float) -> Stall:
    """The same, over since Unix `now`."""
    return replace(stall, until=now)
