"""The port to what the machine says of itself, and its in-memory twin. None always means: it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shared.bundle import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Where the current comes from."""

    on_battery: bool = False
    """False too where the machine has no battery, or does not say."""

    charge: float | None = None
    """Percent of what its batteries hold when full."""


MAINS = Power()


class Facts(Protocol):
    """Each fact as it is now; reading one blocks for less than a millisecond and never raises."""

    def memory_mib(self) -> int | None:
        """What can be allocated without swapping."""
        ...

    def disk_bytes(self, path: Path) -> int | None:
        """Free to this process on the disk where `path`, or the nearest directory above it, lies."""
        ...

    def power(self) -> Power:
        """Mains or battery."""
        ...

    def hottest_c(self) -> float | None:
        """The hottest of all sensors, °C."""
        ...

    def version(self, runtime: Runtime) -> str | None:
        """Version of an installed runtime, which is not imported for that."""
        ...


@dataclass(slots=True, kw_only=True)
class MemoryFacts:
    """The twin: says what it was told."""

    memory: int | None = None
    disk: int | None = None
    supply: Power = MAINS
    heat: float | None = None
    versions: Mapping[Runtime, str] = field(default_factory=dict)

    def memory_mib(self) -> int | None:
        return self.memory

    def disk_bytes(self, path: Path) -> int | None:
        del path
        return self.disk

    def power(self) -> Power:
        return self.supply

    def hottest_c(self) -> float | None:
        return self.heat

    def version(self, runtime: Runtime) -> str | None:
        return self.versions.get(runtime)
