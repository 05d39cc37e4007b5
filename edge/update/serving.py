"""The port to inference, putting a verified release into service, and its in-memory twin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from shared.bundle import Challenge, Release, Variant
from shared.trust import read_proven


class Serving(Protocol):
    """What runs models; `edge.inference` implements it."""

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        """Prove the bytes at `path`, load those very bytes, warm up, and swap in without dropping an input.

        Raises:
            TrustError: the file or its bytes are not the variant's (`shared.trust.read_proven`).
            HinterlandError: it does not load or does not answer; whatever served before still serves.
        """
        ...

    async def withdraw(self, model: str) -> None:
        """Serve nothing for `model` from the next input on."""
        ...

    async def challenge(self, model: str, release: Release, variant: Variant, path: Path, terms: Challenge) -> None:
        """Load as `activate` does, and show it the inputs of what serves, within `terms`.

        Raises:
            TrustError, HinterlandError: as `activate`; nothing runs in the shadow then.
        """
        ...

    async def unchallenge(self, model: str) -> None:
        """Run nothing in the shadow of `model` any more."""
        ...

    def retune(self, model: str, terms: Challenge) -> None:
        """Other terms for what runs in the shadow."""
        ...

    def challenger(self, model: str) -> str:
        """Release that runs in the shadow; empty for none."""
        ...

    def ailing(self, model: str) -> str:
        """Why what serves `model` should serve no longer; empty while it is well."""
        ...

    def challenger_ailing(self, model: str) -> str:
        """Why what runs in the shadow should not; empty while it is well."""
        ...


class MemoryServing:
    """The twin: takes any bytes for a model, except those of releases that are said to be broken."""

    def __init__(self) -> None:
        self.serving: dict[str, str] = {}
        """Model → release."""

        self.broken: dict[str, Exception] = {}
        """Release → what loading it raises."""

        self.challengers: dict[str, str] = {}
        """Model → release in the shadow."""

        self.terms: dict[str, Challenge] = {}
        self.sick: dict[str, str] = {}
        """Release → why it should not run, once it does."""

        self.history: list[str] = []
        """Every release that was put into service, in order."""

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        await self._prove(release, variant, path)
        self.serving[model] = release.id
        self.history.append(release.id)

    async def withdraw(self, model: str) -> None:
        self.serving.pop(model, None)

    async def challenge(self, model: str, release: Release, variant: Variant, path: Path, terms: Challenge) -> None:
        await self._prove(release, variant, path)
        self.challengers[model], self.terms[model] = release.id, terms

    async def unchallenge(self, model: str) -> None:
        self.challengers.pop(model, None)

    def retune(self, model: str, terms: Challenge) -> None:
        self.terms[model] = terms

    def challenger(self, model: str) -> str:
        return self.challengers.get(model, "")

    def ailing(self, model: str) -> str:
        return self.sick.get(self.serving.get(model, ""), "")

    def challenger_ailing(self, model: str) -> str:
        return self.sick.get(self.challenger(model), "")

    async def _prove(self, release: Release, variant: Variant, path: Path) -> None:
        if release.id in self.broken:
            raise self.broken[release.id]
        await asyncio.to_thread(read_proven, path, variant)
