"""What operators, finished runs and drift ask for: each order is one transaction, carried out by later turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.models.line import ModelLine, document_of, line_from
from cloud.rollout.advance import TERMINAL, Rollout, supersede
from cloud.rollout.desired import desired
from cloud.rollout.plan import Pace, plan
from cloud.store.devices import Devices
from cloud.store.events import Events
from cloud.store.lines import LineRow, Lines
from cloud.store.releases import ReleaseRow, Releases
from cloud.store.rollouts import Rollouts
from shared.api import RolloutRequest
from shared.bundle import Release
from shared.errors import ContractError, RefusedError
from shared.ids import fleet_id


def apply_line(
    connection: Connection, name: str, document: dict[str, Any], *, at: float, by: str, reason: str = ""
) -> LineRow:
    """Create or replace a model line; nothing happens when it says the same already.

    Raises:
        ContractError: no model line, or one of another name.
        RefusedError: its numbers make no sense together.
    """
    line = line_from({"name": name} | document)
    if line.name != name:
        raise ContractError(f"the document is about {line.name!r}, the address about {name!r}")
    store, fresh = Lines(connection), LineRow(name=name, document=document_of(line), updated_at=at)
    held = store.find(name)
    if held is not None and line_from(held.document) == line:
        return held
    store.put(fresh)
    before = held.document if held else {}
    AuditLog(connection).add(
        at=at, actor=by, action="model.apply", subject=name, reason=reason, before=before, after=fresh.document
    )
    return fresh


def order_release(
    connection: Connection, release: Release, *, at: float, by: str, reason: str = "", replaces: str = ""
) -> ReleaseRow:
    """Keep a release for signing; its variants' bytes are in the blob store already."""
    row = Releases(connection).add(release, replaces=replaces)
    after = {"digest": row.digest, "variants": {variant.name: variant.digest for variant in release.variants}}
    AuditLog(connection).add(at=at, actor=by, action="release.create", subject=row.id, reason=reason, after=after)
    Events(connection).add("release.created", row.id, f"{row.id} waits for its signature", at=at, run=row.run)
    return row


def order_rollout(connection: Connection, request: RolloutRequest, *, fleet: str, at: float, by: str) -> Rollout:
    """Plan the way of a release to a fleet; one of the same model that is under way there is superseded.

    Args:
        connection: of a write transaction.
        request: what is asked; what it leaves out comes from the model line.
        fleet: where, when the request does not say.
        at: now, Unix seconds.
        by: actor for the audit log.

    Raises:
        UnknownError: no such release.
        RefusedError: the fleet runs a newer one, or the plan is impossible.
    """
    release, fleet = Releases(connection).get(request.release), fleet_id(request.fleet or fleet)
    store = Rollouts(connection)
    history = store.all(fleet=fleet)
    previous = desired(fleet, history).default.get(release.model, "")
    _check_newer(connection, release, history, fleet)
    devices = [device.id for device in Devices(connection).enrolled(fleet=fleet)]
    rollout = Rollout(
        id=_rollout_id(release.id, fleet, history),
        fleet=fleet,
        model=release.model,
        release=release.id,
        previous=previous,
        waves=plan(devices, _pace(_line(connection, release.model), request, devices)),
        created_at=at,
    )
    for older in history:
        if older.model == rollout.model and older.state not in TERMINAL:
            over = supersede(older, by=rollout.id, at=at)
            store.save(over)
            AuditLog(connection).add(
                at=at,
                actor=by,
                action="rollout.supersede",
                subject=older.id,
                reason=over.reason,
                before={"state": older.state.value},
                after={"state": over.state.value},
            )
    store.add(rollout)
    after = {"release": release.id, "fleet": fleet, "waves": [list(wave.devices) for wave in rollout.waves]}
    AuditLog(connection).add(
        at=at, actor=by, action="rollout.create", subject=rollout.id, reason=request.reason, after=after
    )
    Events(connection).add("rollout.created", rollout.id, f"{release.id} is to reach {fleet}", at=at, **after)
    return rollout


def _check_newer(connection: Connection, release: ReleaseRow, history: Sequence[Rollout], fleet: str) -> None:
    """Devices refuse a counter below the highest they have accepted, so such a rollout could only fail."""
    offered = {name for rollout in history if rollout.wave >= 0 for name in (rollout.release, rollout.fallback) if name}
    counters = {row.id: row.counter for row in Releases(connection).all(model=release.model)}
    newest = max((counters.get(name, 0) for name in offered if name in counters), default=0)
    if release.counter < newest:
        raise RefusedError(
            f"{fleet} was offered {release.model}-{newest}, and devices take no older counter",
            hint="To go back, release the old files again; they get a higher counter.",
        )


def _line(connection: Connection, model: str) -> ModelLine | None:
    row = Lines(connection).find(model)
    return line_from(row.document) if row else None


def _pace(line: ModelLine | None, request: RolloutRequest, devices: Sequence[str]) -> Pace:
    """The line's pace, with what the request says otherwise; the line's canaries elsewhere are not missed here."""
    base = Pace()
    if line is not None:
        here = tuple(name for name in line.canaries if name in devices)
        base = Pace(
            canaries=here,
            waves=line.waves,
            soak_s=line.soak_s,
            deadline_s=line.deadline_s,
            tolerated=line.tolerated,
        )
    return Pace(
        canaries=base.canaries if request.canaries is None else tuple(request.canaries),
        waves=base.waves if request.waves is None else tuple(request.waves),
        soak_s=base.soak_s if request.soak_s is None else request.soak_s,
        deadline_s=base.deadline_s if request.deadline_s is None else request.deadline_s,
        tolerated=base.tolerated,
    )


def _rollout_id(release: str, fleet: str, history: Sequence[Rollout]) -> str:
    taken = sum(rollout.release == release for rollout in history)
    return f"{release}-{fleet}" + (f"-{taken + 1}" if taken else "")
