"""Feed hostile inputs to a parser and watch it: only our own errors, in little time, in little memory."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from shared.errors import ContractError, RefusedError, TrustError
from shared.ids import sha256
from tests.fuzz.mutate import Mutator

OURS = (ContractError, TrustError, RefusedError)

SLOW_S = 0.5
"""Of one input; on a busy machine it is given two more tries."""

GROWTH = 64 << 20
"""Bytes that the process may grow by over one input."""

ENOUGH = 5
"""Findings after which a parser is left alone: they are mostly one."""

REGRESSIONS = Path(__file__).with_name("regressions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser of foreign bytes."""

    name: str
    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    share: float = 1.0
    """Of the inputs; parsers that take milliseconds get fewer."""


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text, fed with bytes as a lenient carrier would decode them."""
    return lambda data: parse(data.decode("utf-8", "replace"))


@dataclass(slots=True)
class Tally:
    """What came of it."""

    executed: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def fuzz(target: Target, count: int, *, seed: int, keep: bool = True) -> Tally:
    """Run `count` inputs; each finding is written down as a regression and named."""
    mutate, tally = Mutator(target.seeds, Random(f"{target.name} {seed}")), Tally()
    _forget_peak()
    began = time.perf_counter()
    for _ in range(count):
        data = mutate()
        flaw = check(target, data, tally)
        if flaw is not None:
            tally.findings.append(f"{_written(target, data) if keep else 'input'}: {flaw}")
            if len(tally.findings) >= ENOUGH:
                break
    tally.seconds = time.perf_counter() - began
    return tally


def check(target: Target, data: bytes, tally: Tally) -> str | None:
    """Run one input; what is wrong with how it was taken, or None."""
    before, began = _high_water(), time.perf_counter()
    tally.executed += 1
    try:
        target.parse(data)
        tally.accepted += 1
    except OURS:
        tally.refused += 1
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"[:300]
    took, grew = time.perf_counter() - began, _high_water() - before
    if took > SLOW_S:
        took = min([took, *(_again(target, data) for _ in range(2))])
    tally.slowest_s = max(tally.slowest_s, took)
    if grew > GROWTH:
        return f"grew the process by {grew >> 20} MiB"
    return f"took {took:.2f} s" if took > SLOW_S else None


def regressions(target: Target) -> list[Path]:
    """Inputs that once were findings."""
    return sorted((REGRESSIONS / target.name).glob("*.bin"))


def _again(target: Target, data: bytes) -> float:
    began = time.perf_counter()
    with suppress(*OURS):
        target.parse(data)
    return time.perf_counter() - began


def _written(target: Target, data: bytes) -> Path:
    path = REGRESSIONS / target.name / f"{sha256(data)[:16]}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _forget_peak() -> None:
    """Have the high-water mark begin at what is used now: tests before may have used far more (man 5 proc)."""
    Path("/proc/self/clear_refs").write_text("5")


def _high_water() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
