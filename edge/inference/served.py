"""A release as it runs, in service or in the shadow."""

from __future__ import annotations

from dataclasses import dataclass

from edge.inference.runtime import Session
from shared.bundle import Release, Schema, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A release that is loaded."""

    release: Release
    variant: Variant
    session: Session

    @property
    def schema(self) -> Schema:
        """How to feed the model and read its answer."""
        return self.release.schema
