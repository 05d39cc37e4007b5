"""What a virtual device does once it is asked: pure functions of who it is, what is wanted, and a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import msgspec

from shared.bundle import Challenge, FleetDesired
from shared.messages import ShadowReport, Stage, Telemetry, UpdateStatus
from shared.topics import Up

MODEL, PIPELINE = "gauge", "meter"
SIZE = 420_000
"""Bytes of the variant that devices say they fetched."""

FETCH_S, SPREAD = 4.0, 0.5
"""Median seconds of a download, and the deviation of its logarithm: some links are slow."""

COMPARED = 60
"""Inputs that a device compares before it reports; all of them labelled."""

RIGHT, BETTER, SAME = 0.85, 0.02, 0.04
"""Share of inputs that the champion answers right, that only the challenger does, and on which they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """One batch that a device will publish."""

    after_s: float
    """Seconds after the one before it."""

    channel: Up
    bodies: tuple[msgspec.Struct, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the signers want of one device now."""

    serves: str = ""
    challenge: Challenge | None = None


def wishes(document: FleetDesired) -> dict[str, Wish]:
    """Device → what is wanted of it, for those with a word of their own."""
    names = document.devices.keys() | document.challengers.keys()
    return {
        name: Wish(
            serves=document.for_device(name).get(MODEL, ""),
            challenge=document.challengers.get(name, {}).get(MODEL),
        )
        for name in names
    }


def course(before: Wish, wish: Wish, *, serving: str, fails: bool, random: Random, at: float) -> Iterator[Saying]:
    """What a device says on its way from one wish to another.

    Args:
        before: what was wanted of it before.
        wish: what is wanted now.
        serving: release that serves there.
        fails: whether releases break on this device as they begin to serve.
        random: of the device; decides its delays and what it sees.
        at: now, Unix seconds.
    """
    lay_ready = before.challenge.release if before.challenge else ""
    if wish.serves and wish.serves not in (serving, before.serves):
        if lay_ready != wish.serves:
            yield from _fetching(wish.serves, random, at)
        yield from _trying(wish.serves, random, at, fails=fails)
    elif wish.challenge is not None and wish.challenge.release != lay_ready:
        yield from _fetching(wish.challenge.release, random, at)
        yield _status(wish.challenge.release, random, at, Stage.SHADOW)
        yield Saying(
            after_s=_some(random, 2.0), channel=Up.SHADOW, bodies=(_compared(wish.challenge, serving, random, at),)
        )
    elif lay_ready and wish.challenge is None and lay_ready != wish.serves:
        yield _status(lay_ready, random, at, Stage.WITHDRAWN)


def telemetry(release: str, *, random: Random, at: float) -> Telemetry:
    """What a device that only works says."""
    processed = random.randint(80, 120)
    return Telemetry(
        pipeline=PIPELINE, model=MODEL, release=release, since=at - 10.0, until=at, processed=processed, errors=0
    )


def _fetching(release: str, random: Random, at: float) -> Iterator[Saying]:
    yield _status(release, random, at, Stage.OFFERED, Stage.DOWNLOADING)
    fetch = random.lognormvariate(0.0, SPREAD) * FETCH_S
    yield _status(release, random, at, Stage.VERIFIED, Stage.STAGED, after_s=fetch)


def _trying(release: str, random: Random, at: float, *, fails: bool) -> Iterator[Saying]:
    if fails:
        yield _status(
            release, random, at, Stage.TRIAL, Stage.ROLLED_BACK, reason="fault: its process ended 3 times in a row"
        )
    else:
        yield _status(release, random, at, Stage.TRIAL, Stage.ACTIVE)


def _status(
    release: str, random: Random, at: float, *stages: Stage, after_s: float | None = None, reason: str = ""
) -> Saying:
    bodies = tuple(
        UpdateStatus(
            model=MODEL,
            release=release,
            stage=stage,
            slot="A",
            variant="cpu.onnx",
            reason=reason if stage is stages[-1] else "",
            received=SIZE,
            total=SIZE,
            at=at,
        )
        for stage in stages
    )
    return Saying(after_s=_some(random, 1.0) if after_s is None else after_s, channel=Up.UPDATE, bodies=bodies)


def _compared(terms: Challenge, champion: str, random: Random, at: float) -> ShadowReport:
    draws = [random.random() for _ in range(COMPARED)]
    better = sum(draw < SAME / 2 + BETTER for draw in draws)
    worse = sum(SAME / 2 + BETTER <= draw < SAME + BETTER for draw in draws)
    right = round((COMPARED - better - worse) * RIGHT)
    return ShadowReport(
        pipeline=PIPELINE,
        model=MODEL,
        release=terms.release,
        champion=champion,
        since=at,
        until=at,
        inputs=COMPARED,
        agreed=COMPARED - better - worse,
        both_right=right,
        only_challenger=better,
        only_champion=worse,
        both_wrong=COMPARED - better - worse - right,
    )


def _some(random: Random, mean: float) -> float:
    return random.expovariate(1.0 / mean)
