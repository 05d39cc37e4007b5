"""The port to inference, putting a verified release into service, and its in-memory twin."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from shared.bundle import Release, Variant
from shared.errors import TrustError
from shared.ids import sha256


class Serving(Protocol):
    """What runs models; `edge.inference` implements it."""

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        """Load the file at `path`, warm it up, and swap it in for `model` without dropping an input.

        Raises:
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
        if sha256(await asyncio.to_thread(path.read_bytes)) != variant.digest:
            raise TrustError(f"{path.name} is not {variant.name}")
        self.serving[model] = release.id
        self.history.append(release.id)

    async def withdraw(self, model: str) -> None:
        self.serving.pop(model, None)
