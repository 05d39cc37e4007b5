"""Reading the settings file: everything that is wrong with it is said at once, field by field."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge.settings.agent import Settings
from shared.errors import RefusedError

HINT = "docs/devices.md explains each field."

MOST = 20
"""Faults that are told; a file with more of them is no settings file."""

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<at>[^`]*)`)?$", flags=re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", flags=re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", flags=re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Fault(NamedTuple):
    """One thing that is wrong."""

    field: str
    """As `pipelines[0].source.rate`."""

    what: str

    def __str__(self) -> str:
        return f"{self.field}: {self.what}" if self.field else self.what


def read(path: Path) -> Settings:
    """Read and check a settings file.

    Raises:
        RefusedError: the file is missing, no TOML, or has unknown, missing or wrong fields; each is named.
    """
    try:
        tree = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise RefusedError(
            f"no settings file {path}", hint="Give one with --config; docs/devices.md shows an example."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path}: {error}", hint=HINT) from error
    settings, faults = convert(tree)
    if settings is None:
        raise RefusedError("\n".join(f"{path}: {fault}" for fault in faults), hint=HINT)
    return settings


def convert(tree: dict[str, Any]) -> tuple[Settings | None, list[Fault]]:
    """Settings from what a file says; None and what is wrong if anything is. `tree` is altered then."""
    faults: list[Fault] = []
    while len(faults) < MOST:
        try:
            settings = msgspec.convert(tree, Settings)
        except msgspec.ValidationError as error:
            fault, place = _fault(str(error))
            if not any(_within(each.field, fault.field) for each in faults):  # missed because it was taken out
                faults.append(fault)
            if not _remove(tree, place):
                break
            continue
        return (None, faults) if faults else (settings, [])
    return None, faults


def _fault(error: str) -> tuple[Fault, list[str | int]]:
    """What msgspec found, in our words, and where."""
    found = _PLACE.fullmatch(error)
    what, at = (found["what"], found["at"] or "") if found else (error, "")
    steps = list(_steps(at))
    if unknown := _UNKNOWN.fullmatch(what):
        name = unknown["name"]
        return Fault(_join(at, name), f"is no setting{_meant(name, steps)}"), [*steps, name]
    if missing := _MISSING.fullmatch(what):
        return Fault(_join(at, missing["name"]), "is missing"), _whole(steps)
    if what.startswith("Invalid value") and steps[-1:] == ["kind"]:
        return Fault(at, f"{what[:1].lower()}{what[1:]}; there are {', '.join(_kinds(steps[:-1]))}"), _whole(steps[:-1])
    if steps and not isinstance(steps[-1], str):
        return Fault(at, what[:1].lower() + what[1:]), _whole(steps)
    return Fault(at, what[:1].lower() + what[1:]), steps


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _steps(at: str) -> Iterator[str | int]:
    for name, index in _STEP.findall(at):
        yield name or (int(index) if index.isdecimal() else index)


def _within(field: str, outer: str) -> bool:
    return field == outer or field.startswith((f"{outer}.", f"{outer}["))


def _whole(steps: list[str | int]) -> list[str | int]:
    """The list that something is in, where it is in one: to take out one of several would number the others anew."""
    cut = next((index for index, step in enumerate(steps) if not isinstance(step, str)), len(steps))
    return steps[:cut]


def _meant(name: str, steps: list[str | int]) -> str:
    close = get_close_matches(name, sorted(known_fields(steps)), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def known_fields(steps: list[str | int]) -> set[str]:
    """Names that may stand below a place in the file; of every kind, where kinds differ."""
    return {field.encode_name for each in _structs(_types(steps)) for field in each.fields}


def _kinds(steps: list[str | int]) -> list[str]:
    return sorted(str(each.tag) for each in _structs(_types(steps)) if each.tag is not None)


def _types(steps: list[str | int]) -> list[Any]:
    types: list[Any] = [msgspec.inspect.type_info(Settings)]
    for step in steps:
        types = [inner for each in types for inner in _inside(each, step)]
    return types


def _inside(kind: Any, step: str | int) -> Iterator[Any]:
    if isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _inside(each, step)
    elif isinstance(kind, msgspec.inspect.StructType):
        yield from (field.type for field in kind.fields if field.encode_name == step)
    elif isinstance(kind, msgspec.inspect.ListType) and not isinstance(step, str):
        yield kind.item_type


def _structs(types: list[Any]) -> Iterator[msgspec.inspect.StructType]:
    for each in types:
        if isinstance(each, msgspec.inspect.UnionType):
            yield from _structs(list(each.types))
        elif isinstance(each, msgspec.inspect.StructType):
            yield each


def _remove(tree: Any, steps: list[str | int]) -> bool:
    """Take out what is wrong, so that what else is wrong is found; whether it was there."""
    if not steps:
        return False
    try:
        for step in steps[:-1]:
            tree = tree[step]
        del tree[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True
