"""Rollouts with what each device said, and what each wave has proven."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from cloud.access.rollout_approvers import rollout_standing, spec_digest
from cloud.rollout.document import document_of
from cloud.rollout.evidence import Evidence
from cloud.rollout.gates import Proof, prove
from cloud.rollout.state import BAD, TERMINAL, Rollout, RolloutState
from cloud.store.approvals import Votes
from cloud.store.rollouts import RolloutDevice, Rollouts
from cloud.store.shadows import Shadows
from shared import api
from shared.access import Vote
from shared.messages import Stage


def rollout_view(connection: Connection, value: Rollout, *, whole: bool = True) -> api.Rollout:
    """One rollout; with a line for each device if `whole`."""
    asks = value.spec.approvals and value.state is not RolloutState.DONE
    devices = Rollouts(connection).devices(value.id) if whole else []
    content = spec_digest(value)
    votes = [vote for vote in Votes.on_rollouts(connection).of(value.id) if vote.digest == content]
    return api.Rollout(
        id=value.id,
        fleet=value.fleet,
        model=value.model,
        release=value.release,
        previous=value.previous,
        fallback=value.fallback,
        state=value.state.value,
        wave=value.wave,
        waves=[list(wave.devices) for wave in value.waves] if whole else [],
        reason=value.reason,
        created_at=value.created_at,
        opened_at=value.opened_at,
        complete_at=value.complete_at,
        finished_at=value.finished_at,
        devices=device_rows(devices),
        paused_at=value.paused_at,
        done_at=value.done_at,
        spec=document_of(value.spec),
        content=content,
        approval=str(rollout_standing(connection, value)) if asks else "",
        votes=[Vote(by=vote.principal, approved=vote.approved, reason=vote.reason, at=vote.at) for vote in votes],
        progress=_progress(connection, value),
    )


def applied_view(before: Sequence[Rollout], after: Rollout) -> api.Applied:
    """What applying a document came to, from the fleet's rollouts as they were and the one that is."""
    held = next((rollout for rollout in before if rollout.id == after.id), None)
    change = "created" if held is None else "unchanged" if held == after else "changed"
    ended = [each.id for each in before if held is None and each.model == after.model and each.state not in TERMINAL]
    waves = [list(wave.devices) for wave in after.waves]
    return api.Applied(rollout=after.id, change=change, supersedes=ended, waves=waves)


def device_rows(rows: Sequence[RolloutDevice]) -> list[api.RolloutDevice]:
    """A line for each device."""
    return [msgspec.convert(row, api.RolloutDevice, from_attributes=True) for row in rows]


def gate_views(proofs: Sequence[Proof]) -> list[api.Gate]:
    """What each gate has measured."""
    return [msgspec.convert(proof, api.Gate, from_attributes=True, strict=False) for proof in proofs]


def _progress(connection: Connection, value: Rollout) -> list[api.RolloutWave]:
    stages, asked = Rollouts(connection).progress(value.id), set(value.asked)
    return [
        api.RolloutWave(
            devices=len(wave.devices),
            asked=sum(device in asked for device in wave.devices),
            active=stages.get((index, Stage.ACTIVE), 0),
            failed=sum(count for (number, stage), count in stages.items() if number == index and stage in BAD),
            compared=(found := _compared(connection, value, index)).inputs,
            gates=gate_views(_proofs(value, index, found)),
        )
        for index, wave in enumerate(value.waves)
    ]


def _compared(connection: Connection, value: Rollout, index: int) -> Evidence:
    begun = value.compares and index <= value.wave
    return Shadows(connection).wave(value.id, index) if begun else Evidence()


def _proofs(value: Rollout, index: int, found: Evidence) -> Sequence[Proof]:
    """As the wave's comparison ended, or as it stands now."""
    if not value.compares or index > value.wave:
        return ()
    kept = value.proofs.get(str(index))
    return prove(found, value.spec.gates, value.spec.shadow, wave=index) if kept is None else kept
