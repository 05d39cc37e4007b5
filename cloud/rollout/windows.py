"""When devices may be asked to change: times of the week in a time zone."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cloud.rollout.spec import Window
from shared.errors import RefusedError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)")


def is_open(windows: Collection[Window], at: float) -> bool:
    """Whether one of `windows` is open at `at`, Unix seconds; always without any.

    Wall-clock times count: in the night in which clocks go forward a window is an hour shorter, and an hour longer
    in the one in which they go back.
    """
    return not windows or any(_is_open(window, at) for window in windows)


def check_window(window: Window) -> None:
    """Refuse what is no window.

    Raises:
        RefusedError: a day, time or zone that does not exist, or no time between start and end.
    """
    for day in window.days:
        if day not in DAYS:
            raise RefusedError(f"{day[:20]!r} is no day of the week", hint=f"One of {', '.join(DAYS)}.")
    for text in (window.start, window.end):
        if not _TIME.fullmatch(text):
            raise RefusedError(f"{text[:20]!r} is no time of day", hint="Hours and minutes: 22:00.")
    if window.start in (window.end, "24:00"):
        raise RefusedError(
            f"a window from {window.start} to {window.end} is empty", hint="The whole day is 00:00 to 24:00."
        )
    try:
        ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RefusedError(f"no time zone {window.zone[:60]!r}", hint="For example UTC or Europe/Berlin.") from None


def _is_open(window: Window, at: float) -> bool:
    local = datetime.fromtimestamp(at, ZoneInfo(window.zone))
    minute = local.hour * 60 + local.minute
    start, end = _minutes(window.start), _minutes(window.end)
    if start < end:
        return start <= minute < end and _on(window, local)
    return (minute >= start and _on(window, local)) or (minute < end and _on(window, local - timedelta(days=1)))


def _on(window: Window, day: datetime) -> bool:
    return not window.days or DAYS[day.weekday()] in window.days


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
