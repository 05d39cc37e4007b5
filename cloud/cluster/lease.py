"""Who leads, and for how long: a lease with a fencing token, decided from one row.

The token grows with each change of leader and is checked inside every transaction of the leader's (Kleppmann, "How to
do distributed locking", 2016). So clocks decide only how soon a dead leader is followed, never who may write: a leader
that was frozen, or whose clock is wrong, finds another token in the row and writes nothing. Pure.
"""

from __future__ import annotations

import msgspec

from shared.errors import FaultError

LOOP = "loop"
"""What is led: the turns that drive runs, releases and rollouts, and that sign."""


class FencedError(FaultError):
    """Somebody else leads by now: the step ends, whoever leads does it."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """One process that may lead."""

    replica: str
    """Its name, which one living process has at a time."""

    incarnation: str
    """Tells it from an earlier process of the same name."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The row."""

    name: str
    replica: str
    incarnation: str
    token: int
    """Grows by one whenever a lease begins anew; one process alone ever has it."""

    expires_at: float
    """Unix seconds."""

    @property
    def holder(self) -> Holder:
        """Whose it is."""
        return Holder(replica=self.replica, incarnation=self.incarnation)


def decide(held: Lease | None, holder: Holder, *, at: float, lease_s: float) -> Lease | None:
    """The lease that `holder` should write over `held`; None while it is somebody else's.

    Args:
        held: as the database has it.
        holder: who asks.
        at: Unix seconds, by the one clock that all replicas are measured with.
        lease_s: how long it lasts without being renewed.
    """
    if held is not None and at < held.expires_at:
        if held.holder == holder:
            return msgspec.structs.replace(held, expires_at=max(held.expires_at, at + lease_s))
        if held.replica != holder.replica:
            return None  # of the same name, the earlier process is gone: this one got the name's lock
    return Lease(
        name=LOOP,
        replica=holder.replica,
        incarnation=holder.incarnation,
        # also for who held it before: what it began under the old token may still be under way
        token=1 if held is None else held.token + 1,
        expires_at=at + lease_s,
    )


def given_up(held: Lease, *, at: float) -> Lease:
    """The lease after its holder has left in good order: the next one need not wait."""
    return msgspec.structs.replace(held, expires_at=at)


def permits(held: Lease | None, holder: Holder, *, token: int, at: float) -> bool:
    """Whether `holder` may still write what it began under `token`."""
    return held is not None and held.holder == holder and held.token == token and at < held.expires_at
