"""Peers of every version are understood, and what we send today is what we said we send."""

import inspect
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import bundle, enrolment, federation, messages
from shared.sketch import Sketch, psi
from tests.wire import golden

STORED = [path for version in golden.versions() for path in sorted(version.glob("*.bin"))]
EMBEDDED = {
    bundle.Challenge,
    bundle.Needs,
    messages.Record,
    messages.Pace,
    messages.Stall,
    bundle.Chunk,
    bundle.Variant,
    bundle.Schema,
    bundle.Signal,
    bundle.Reading,
    federation.FileTally,
}
"""Structs that only travel inside others."""


def covers(now: Any, then: Any) -> bool:
    """Whether `now` says all that `then` said; it may say more."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and covers(now[key], value) for key, value in then.items())
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(covers, now, then))
    return bool(now == then)


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_bytes_of_every_version_still_mean_the_same(path: Path) -> None:
    decoded = golden.decode(path.read_bytes(), type(golden.EXAMPLES[path.stem]))
    assert covers(golden.meaning(decoded), msgspec.json.decode(path.with_suffix(".json").read_bytes()))


@pytest.mark.parametrize("name", golden.EXAMPLES)
def test_what_is_sent_today_is_the_newest_stored_version(name: str) -> None:
    newest = golden.versions()[-1] / f"{name}.bin"
    assert golden.encode(golden.EXAMPLES[name]) == newest.read_bytes(), "see the docstring of tests/wire/golden.py"


@pytest.mark.parametrize("version", golden.versions(), ids=lambda version: version.name)
def test_sketches_of_every_version_are_read_and_written_as_ever(version: Path) -> None:
    stored = (version / "sketch.kll").read_bytes()
    assert psi(Sketch.from_bytes(stored), golden.hundred()) == 0.0
    assert golden.hundred().to_bytes() == stored


@pytest.mark.parametrize("name", golden.EXAMPLES)
def test_examples_fill_in_every_field(name: str) -> None:
    message = golden.EXAMPLES[name]
    for field in msgspec.structs.fields(message):
        if field.name == "format":
            continue  # only one value so far
        assert getattr(message, field.name) not in ("", 0, [], {}, b""), f"{name}.{field.name} is at its default"


@pytest.mark.parametrize("module", [messages, bundle, enrolment, federation])
def test_every_message_has_an_example(module: Any) -> None:
    structs = {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }
    assert structs - EMBEDDED <= {type(example) for example in golden.EXAMPLES.values()}
