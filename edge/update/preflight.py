"""Before byte 1 of a variant the machine is asked what it has, and what stands in the way is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edge.facts import Facts
from edge.update.obstacles import Policy, Readings, judge
from shared.bundle import Variant
from shared.clock import Clock
from shared.errors import TrustError


class HeldError(Exception):
    """Something that may pass keeps a release from starting here; the text says what."""


class Preflight:
    """Reads the facts and judges; one for all model lines."""

    def __init__(self, facts: Facts, policy: Policy, *, models: Path, clock: Clock) -> None:
        """`models` is the directory of all slots."""
        self._facts = facts
        self._policy = policy
        self._models = models
        self._clock = clock

    async def check(self, variant: Variant) -> None:
        """Return if the first byte may be asked for.

        Raises:
            HeldError: not now.
            TrustError: never on this device, until something else is signed.
        """
        readings = await asyncio.to_thread(self._read, variant)
        obstacle = judge(variant, readings, self._policy)
        if obstacle is None:
            return
        if obstacle.passing:
            raise HeldError(f"held: {obstacle.reason}")
        raise TrustError(obstacle.reason)

    def _read(self, variant: Variant) -> Readings:
        facts = self._facts
        parts = self._models.glob(f"*/incoming/{variant.digest}.part")
        return Readings(
            at=self._clock.now(),
            memory_mib=facts.memory_mib(),
            disk_bytes=facts.disk_bytes(self._models),
            present_bytes=max((_occupied(part) for part in parts), default=0),
            power=facts.power(),
            version=facts.version(variant.runtime) if variant.needs.runtime_version else None,
        )


def _occupied(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512  # a partial file is as long as the whole, with holes
    except OSError:
        return 0
