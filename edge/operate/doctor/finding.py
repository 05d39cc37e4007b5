"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    """The device works; something is missing, or will be."""

    FAIL = "fail"
    """Something that the settings ask for cannot work."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    name: str
    """What was looked at, the same in every version."""

    level: Level
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Finding:
    """It is well."""
    return Finding(name=name, level=Level.OK, text=text)


def warn(name: str, text: str, remedy: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(name=name, level=Level.WARN, text=text, remedy=remedy)


def fail(name: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name=name, level=Level.FAIL, text=text, remedy=remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst of all; ok for none."""
    order = list(Level)
    return max((each.level for each in findings), key=order.index, default=Level.OK)
