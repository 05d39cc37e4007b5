"""The port to inference, putting a verified release into service, and its in-memory twin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from shared.bundle import Release, Variant
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


class MemoryServing:
    """The twin: takes any bytes for a model, except those of releases that are said to be broken."""

    def __init__(self) -> None:
        self.serving: dict[str, str] = {}
        """Model → release."""

        self.broken: dict[str, Exception] = {}
        """Release → what loading it raises."""

        self.history: list[str] = []
        """Every release that was put into service, in order."""

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        if release.id in self.broken:
            raise self.broken[release.id]
        await asyncio.to_thread(read_proven, path, variant)
        self.serving[model] = release.id
        self.history.append(release.id)

    async def withdraw(self, model: str) -> None:
        self.serving.pop(model, None)
