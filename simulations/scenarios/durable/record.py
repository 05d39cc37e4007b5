"""The record of one run of the `durable` scenario: the schema of `report/durable.json`."""

from __future__ import annotations

import msgspec


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """One `kill -9` and what followed."""

    at_s: float
    """Seconds since the run was ordered."""

    victim: str
    device: str = ""
    step: str
    """What the run was doing."""

    round: int = 0
    recovered_s: float = -1.0
    """Until that process served again: its port answers, its node is connected, its attempt has begun; −1: never."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs."""

    run: str
    digest: str
    files: dict[str, str]
    """Candidate file → SHA-256."""

    rounds: list[str]
    """Digest after each round."""

    attempts: int
    seconds: float
    state: str


class DurableReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    scenario: str = "durable"
    seed: int
    planned: int
    held: bool
    undisturbed: Told
    killed: Told
    kills: list[Killed]
    by_victim: dict[str, int]
    by_step: dict[str, int]
    superlink_mib: float
    """Size of the SuperLink's database at the end."""

    seconds: float
