"""The trust client from asyncio: in a worker thread, one call at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edge.inference.kinds import check_kind
from shared.bundle import Challenge, Release, Runtime, Variant
from shared.errors import FaultError, TrustError
from shared.ids import FleetId, sha256
from shared.trust import TrustClient
from shared.trust.errors import Altered

log = logging.getLogger(__name__)

T = TypeVar("T")

_HOURLY = ("timestamp@", "snapshot@")
"""Roles that are signed again without anything being said anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the signers want of one device."""

    releases: Mapping[str, str] = field(default_factory=dict)
    """Model → release that serves."""

    challengers: Mapping[str, Challenge] = field(default_factory=dict)
    """Model → what is to run in its shadow."""

    masks: Any = None
    """The fleet's privacy masks as they were signed, unread; None while nothing is proven."""


class Trust:
    """What this device may act on; raises as `TrustClient` does."""

    def __init__(
        self,
        client: TrustClient,
        *,
        fleet: FleetId,
        hardware: Collection[str],
        runtimes: Collection[Runtime],
        unexecuted: bool = False,
        lacking: Mapping[Runtime, str] | None = None,
        again: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        """Ask `client`; where a file fails its proof, `again` brings another copy, or says that there is none now.

        `lacking` says why this device has not a runtime that its owner prefers.
        """
        self._client = client
        self._again = again
        self._fleet = fleet
        self._hardware = hardware
        self._runtimes = runtimes
        self._unexecuted = unexecuted
        self._lacking = dict(lacking or {})
        self._lock = asyncio.Lock()

    async def desired(self, device: str) -> Desired:
        """Fetch fresh metadata; return what the signers want here."""

        def ask() -> Desired:
            self._client.refresh()
            document = self._client.desired(self._fleet)
            challengers = document.challengers.get(device, {})
            return Desired(releases=document.for_device(device), challengers=challengers, masks=document.masks)

        return await self._call(ask)

    async def release(self, release: str) -> Release:
        """A proven manifest."""
        return await self._call(lambda: self._client.release(release))

    async def model_keys(self) -> dict[str, str]:
        """Key id → PEM of the keys that must vouch for a model; asked without a connection."""
        return await self._call(self._client.model_keys)

    def admit(self, release: Release) -> Variant:
        """The variant for this device.

        Raises:
            TrustError: there is none, the release is older than one that ran here, or of a kind that nobody here reads.
        """
        try:
            check_kind(release.schema)
        except FaultError as error:
            raise TrustError(f"{release.id}: {error}", hint=error.hint) from error
        return self._client.admit(
            release, hardware=self._hardware, runtimes=self._runtimes, unexecuted=self._unexecuted
        )

    def fallback(self, variant: Variant) -> str:
        """What is said of a variant that is not for the runtime that this device's owner prefers; empty if it is."""
        preferred = next(iter(self._runtimes), variant.runtime)
        reasons = list(self._lacking.values())
        if variant.runtime is not preferred:
            reasons.append(f"there is no file for {preferred} that this device may have")
        return f"falls back to {variant.name} on {variant.runtime}: {'; '.join(reasons)}" if reasons else ""

    async def remember(self, release: Release) -> None:
        """Raise the high-water mark of a model line."""
        await self._call(lambda: self._client.remember(release))

    def has_run(self, release: Release) -> bool:
        """Whether it, or a later one of its line, has been committed here: a slot that says otherwise is no refuge."""
        mark = self._client.marks.releases.get(release.model)
        return mark is not None and release.counter <= mark.counter

    @property
    def fingerprint(self) -> str:
        """Names what root, targets, releases and fleets said when they were last read."""
        versions = self._client.marks.versions
        return sha256(repr(sorted(pair for pair in versions.items() if not pair[0].startswith(_HOURLY))).encode())

    async def _call(self, ask: Callable[[], T]) -> T:
        async with self._lock:
            try:
                return await asyncio.to_thread(ask)
            except Altered as error:
                if self._again is None or not await self._again(error.file):
                    raise
                log.warning("%s was altered on the way; another copy has come: %s", error.file, error)
            return await asyncio.to_thread(ask)  # once: who alters that one, too, is reported
