"""The port to inference: putting a verified release into service."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from shared.bundle import Release, Variant


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
