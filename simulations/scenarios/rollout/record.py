"""The record of one run of the `rollout` scenario: the schema of `report/rollout.json`.

Times named `_s` are seconds since the scenario started; shares are 0 to 1.
"""

from __future__ import annotations

import msgspec

from shared.rollouts import Gate


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must hold, and what was seen of it."""

    name: str
    held: bool
    said: str


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """One wave and its evidence."""

    devices: int
    asked: int
    active: int
    failed: int
    compared: int
    """Inputs that challenger and champion both answered."""

    gates: list[Gate]


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices were in each stage of a release from a moment on."""

    at_s: float
    stages: dict[str, int]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy gate at one look: logarithms of the capital won against either claim."""

    at_s: float
    wave: int
    inputs: int
    not_worse: float
    worse: float
    needed: float


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One release and its rollout."""

    name: str
    words: str
    release: str
    rollout: str
    accuracy: float
    """Of the model file, on the pictures from which the streams are drawn."""

    expected: str
    state: str
    reason: str
    fallback: str
    began_s: float
    ended_s: float
    waves: list[Wave]
    reached: list[str]
    """Devices that ever had anything to do with the release."""

    busiest: dict[str, int]
    """Site → most devices that were unsettled at once."""

    champion_inputs: int
    """Answered by releases that had been promoted, while the act lasted, over all devices."""

    champion_errors: int
    idle: list[str]
    """Devices that no promoted release answered for while the act lasted."""

    stages: list[Count]
    looks: list[Look]
    checks: list[Check]


class RolloutReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    scenario: str
    seed: int
    seconds: float
    devices: int
    sites: dict[str, str]
    """Device → site."""

    canaries: list[str]
    acts: list[Act]
    checks: list[Check]
    """Of the whole story, at its end."""

    notes: list[str]

    @property
    def held(self) -> bool:
        """Whether everything that must hold was seen to."""
        checks = [*self.checks, *(check for act in self.acts for check in act.checks)]
        return bool(checks) and all(check.held for check in checks)
