"""What operators do to a rollout, under way or done: each is one transaction, and may be repeated."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.rollouts import fall_back
from cloud.rollout.operate import pause, resume, roll_back
from cloud.rollout.state import TERMINAL, Rollout, RolloutState
from cloud.store.events import Events
from cloud.store.rollouts import Rollouts
from shared.errors import RefusedError


class Intervention(StrEnum):
    """What operators can do."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    """End it before it is done."""

    ROLLBACK = "rollback"
    """Give everybody what ran before, also after it is done."""


def intervene(
    connection: Connection, rollout: Rollout, what: Intervention, *, by: str, reason: str, at: float
) -> Rollout:
    """Do it; nothing happens, and nothing is noted, when it is so already.

    Raises:
        RefusedError: it makes no sense any more.
    """
    after = _after(connection, rollout, what, by=by, reason=reason, at=at)
    if after == rollout:
        return rollout
    if after.state is RolloutState.HALTED:
        after = fall_back(connection, after, at=at, by=by)
    Rollouts(connection).save(after)
    if what is Intervention.RESUME and rollout.paused_at is not None:
        Rollouts(connection).postpone(rollout.id, by=max(0.0, at - rollout.paused_at))
    said = f"{by.removeprefix('operator:')}: {what} of {rollout.id}" + (f" ({reason})" if reason else "")
    Events(connection).add(f"rollout.{what}", rollout.id, said, at=at, fallback=after.fallback)
    AuditLog(connection).add(
        at=at,
        actor=by,
        action=f"rollout.{what}",
        subject=rollout.id,
        reason=reason,
        before={"state": rollout.state.value, "paused": rollout.paused_at is not None},
        after={"state": after.state.value, "paused": after.paused_at is not None, "fallback": after.fallback},
    )
    return after


def _after(connection: Connection, rollout: Rollout, what: Intervention, *, by: str, reason: str, at: float) -> Rollout:
    words = f"{what} by {by.removeprefix('operator:')}" + (f": {reason}" if reason else "")
    match what:
        case Intervention.PAUSE:
            return pause(rollout, at=at)
        case Intervention.RESUME:
            return resume(rollout, at=at)
        case Intervention.ABORT if rollout.state in TERMINAL:
            raise RefusedError(
                f"{rollout.id} is {rollout.state} already", hint="What is done is taken back by a rollback."
            )
        case _:
            _require_newest(connection, rollout)
            return roll_back(rollout, reason=words, at=at)


def _require_newest(connection: Connection, rollout: Rollout) -> None:
    history = Rollouts(connection).all(fleet=rollout.fleet)
    later = [each.id for each in history[history.index(rollout) + 1 :] if each.model == rollout.model]
    if later:
        raise RefusedError(f"{later[-1]} came after {rollout.id}", hint=f"Roll {later[-1]} back.")
