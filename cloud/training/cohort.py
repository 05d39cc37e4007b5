"""Who takes part in a round, and with which seed: functions of the run's seed, the round and device ids."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable


def cohort(seed: int, round_: int, devices: Iterable[str], fraction: float) -> list[str]:
    """Draw a round's devices, sorted; at least one if there is any.

    Every device has a ticket that no other device's presence changes, and the lowest tickets are drawn: a
    restart draws the same cohort, and one device more or less changes it by one (rendezvous hashing).
    """
    tickets = sorted(devices, key=lambda device: (ticket(seed, round_, device), device))
    return sorted(tickets[: math.ceil(fraction * len(tickets))])


def ticket(seed: int, round_: int, device: str) -> int:
    """A device's lot in a round's draw, 0 to 2^64 − 1."""
    return _number("cohort", seed, round_, device)


def local_seed(seed: int, round_: int, device: str) -> int:
    """Seed of a device's local training in a round, 0 to 2^63 − 1."""
    return _number("train", seed, round_, device) >> 1


def _number(purpose: str, seed: int, round_: int, device: str) -> int:
    digest = hashlib.sha256(f"{purpose}\0{seed}\0{round_}\0{device}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
