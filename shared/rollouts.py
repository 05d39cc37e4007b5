"""Rollouts, as the HTTP API says them."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.access import Vote


class RolloutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Bring a release to a fleet; what is left out comes from the model line."""

    release: str
    fleet: str = ""
    canaries: list[str] | None = None
    waves: list[float] | None = None
    soak_s: float | None = None
    deadline_s: float | None = None
    reason: str = ""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a document came to, or would."""

    rollout: str
    """Its id."""

    change: str
    """`created`, `changed` or `unchanged`."""

    supersedes: list[str] = []
    """Rollouts of other releases of the model that end with it."""

    waves: list[list[str]] = []
    """Devices of each wave."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate of a wave has measured."""

    gate: str
    verdict: str
    """`not worse`, `worse` or `open`."""

    measured: float | None
    bound: float
    inputs: int
    not_worse: float = 0.0
    """Sequential tests: logarithm of the capital won against "worse", which counts as proof at `needed`."""

    worse: float = 0.0
    needed: float = 0.0


class RolloutWave(msgspec.Struct, frozen=True, kw_only=True):
    """One wave, in numbers."""

    devices: int
    asked: int
    active: int
    failed: int
    compared: int = 0
    """Inputs that challenger and champion both answered."""

    gates: list[Gate] = []
    """As the wave's comparison ended, or as it stands now."""


class RolloutDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device in a rollout."""

    device: str
    wave: int
    stage: str
    reason: str
    offered_at: float | None = None
    active_at: float | None = None
    at: float | None = None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One release on its way to a fleet."""

    id: str
    fleet: str
    model: str
    release: str
    previous: str
    fallback: str
    state: str
    """`pending`, `shadowing`, `open`, `soaking`, `done`, `halted` or `superseded`."""

    wave: int
    waves: list[list[str]]
    reason: str
    created_at: float
    opened_at: float | None = None
    complete_at: float | None = None
    finished_at: float | None = None
    devices: list[RolloutDevice] = []
    """Left out of lists."""

    paused_at: float | None = None
    """None while it is not paused."""

    done_at: float | None = None
    spec: dict[str, Any] = {}
    """Its document, in the words of `docs/rollouts.md`."""

    content: str = ""
    """What people vote on: digest of the document."""

    approval: str = ""
    """`waiting`, `approved` or `rejected` where people must approve; else empty."""

    votes: list[Vote] = []
    progress: list[RolloutWave] = []
    """By wave."""
