"""The record of one run with virtual devices: the schema of `report/crowd.json`.

Times named `_s` are seconds since the scenario started unless said otherwise.
"""

from __future__ import annotations

import msgspec

from simulations.scenarios.rollout.record import Check, Wave


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """From the publication of a batch of status updates to its acknowledgement, milliseconds."""

    batches: int
    p50_ms: float
    p99_ms: float
    most_ms: float


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of all channels that the coordinator acknowledged, a second."""

    mean: float
    busiest: float
    """Over the busiest ten seconds."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout."""

    name: str
    release: str
    rollout: str
    state: str
    reason: str
    fallback: str
    began_s: float
    ended_s: float
    waves: list[Wave]
    latency: Latency
    arrivals: Arrivals


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """What happened around the moment at which more devices had failed than a wave tolerates."""

    wave: int
    """Its number, from 1."""

    devices: int
    """In the wave."""

    failing: int
    """On which the release breaks."""

    tolerated: int
    failed: int
    """That had been asked, and failed, by the end."""

    asked_before: int
    asked_after: int
    """Devices asked after the coordinator had stored the failure that was one too many."""

    later: int
    """Devices of later waves that were asked."""

    halted_after_s: float
    """From that failure to the halt."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What devices cost."""

    before_mib: float
    """Resident memory of the coordinator's process, before any device had spoken."""

    most_mib: float
    per_device_kib: float
    """The difference, by device."""

    database_kib: float
    """Of the database's file, by device."""

    desired_versions: int
    """How often the fleet's desired state was signed anew."""

    desired_most_kib: float
    desired_bytes: float
    """Of the largest, by device with a word of its own."""


class CrowdReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    scenario: str
    seed: int
    seconds: float
    devices: int
    sites: int
    acts: list[Act]
    breach: Breach
    latency: Latency
    """Of all status updates."""

    arrivals: Arrivals
    memory: Memory
    keeper_turn_ms: dict[str, float]
    """One turn over all rollouts in which nothing changes, on a copy of the database taken in that moment, at rest."""

    resent: int
    late: int
    """Batches that this simulation sent more than a second after they were due."""

    checks: list[Check]
    notes: list[str]

    @property
    def held(self) -> bool:
        """Whether everything that must hold was seen to."""
        return bool(self.checks) and all(check.held for check in self.checks)
