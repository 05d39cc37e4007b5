"""What the device's owner allows federated runs to do here. The owner's word outranks the server's.

A server can lie about what a run is for; it cannot lie about the task, which names the data that would be used. Who
must be sure, allows tasks or hours, or sets `training.enabled` to false.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from edge.update.obstacles import within
from shared.errors import RefusedError
from shared.federation import Instruction


class VetoError(RefusedError):
    """The owner of this device does not allow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePolicy:
    """The owner's rules; each that says something must be met. Names are compared whole, `*` stands for any text."""

    tasks: tuple[str, ...] = ()
    """Tasks, hence data, that may be trained and judged on; empty for all."""

    models: tuple[str, ...] = ()
    """Model lines that may be trained; empty for all."""

    purposes: tuple[str, ...] = ()
    """Purposes that count; empty for all."""

    refuse: tuple[str, ...] = ()
    """Runs that may not, whatever the other rules say."""

    hours: tuple[str, ...] = ()
    """When a message may be answered, `HH:MM-HH:MM` in UTC, also over midnight; empty for always."""


class Owner(NamedTuple):
    """Who is asked before a message is answered."""

    policy: SitePolicy
    now: Callable[[], float]
    """Unix seconds."""

    def check(self, wanted: Instruction) -> None:
        """Let an instruction pass now.

        Raises:
            VetoError: a rule says no.
        """
        check(wanted, self.policy, at=self.now())


def check(wanted: Instruction, policy: SitePolicy, *, at: float) -> None:
    """Let an instruction pass.

    What a server does not say meets no rule: an owner who allows some purposes did not allow an unnamed one.

    Args:
        wanted: what the server asks.
        policy: the owner's rules.
        at: now, Unix seconds.

    Raises:
        VetoError: a rule says no; the message names the rule, and nothing of the device's data.
    """
    if policy.refuse and (not wanted.run or _named(wanted.run, policy.refuse)):
        raise VetoError(f"run {wanted.run[:80]!r} is refused here")
    allowed = (
        ("task", wanted.task, policy.tasks),
        ("model", wanted.model, policy.models),
        ("purpose", wanted.purpose, policy.purposes),
    )
    for kind, name, names in allowed:
        if names and not _named(name, names):
            raise VetoError(f"{kind} {name[:80]!r} is not allowed here")
    if policy.hours and not within(policy.hours, at=at):
        raise VetoError(f"training is allowed between {' and '.join(policy.hours)} UTC")


def _named(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
