"""What operators, finished runs and drift ask for: each order is one transaction, carried out by later turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.run_orders import rehearse
from cloud.models.line import ModelLine, line_from, shares
from cloud.models.line import document_of as line_document
from cloud.rollout.desired import desired
from cloud.rollout.document import check, document_of
from cloud.rollout.operate import retarget
from cloud.rollout.plan import plan
from cloud.rollout.provers import Ability, with_provers
from cloud.rollout.spec import Spec
from cloud.rollout.state import TERMINAL, Rollout, supersede
from cloud.rollout.target import matching
from cloud.store.devices import Devices
from cloud.store.events import Events
from cloud.store.lines import LineRow, Lines
from cloud.store.releases import ReleaseRow, Releases
from cloud.store.rollouts import Rollouts
from shared.api import RolloutRequest
from shared.bundle import UNEXECUTED, Release
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
    rehearse(line)
    store, fresh = Lines(connection), LineRow(name=name, document=line_document(line), updated_at=at)
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
    """Plan the way of a release to a fleet as its model line says, with what the request says otherwise.

    Raises:
        UnknownError: no such release.
        RefusedError: the fleet runs a newer one, or the plan is impossible.
    """
    release, fleet = Releases(connection).get(request.release), fleet_id(request.fleet or fleet)
    devices = list(Devices(connection).labels(fleet=fleet))
    spec = _spec(_line(connection, release.model), request, fleet=fleet, devices=devices)
    return order(connection, spec, at=at, by=by)


def order(connection: Connection, spec: Spec, *, at: float, by: str) -> Rollout:
    """Begin a rollout, or change the one of the same release that is under way in the same fleet.

    One of another release of the model that is under way there is superseded: who was asked by it keeps what it has
    until the new rollout comes to him.

    Args:
        connection: of a write transaction.
        spec: checked, with its fleet named.
        at: now, Unix seconds.
        by: actor for the audit log.

    Raises:
        UnknownError: no such release.
        RefusedError: the fleet runs a newer one, or the plan is impossible.
    """
    release, store = Releases(connection).get(spec.release), Rollouts(connection)
    spec = _with_approvals(spec, _line(connection, release.model))
    history = store.all(fleet=spec.fleet)
    names = matching(spec.target, Devices(connection).labels(fleet=spec.fleet))
    spec = _proving(connection, spec, release, names)
    under_way = [older for older in history if older.model == release.model and older.state not in TERMINAL]
    for older in under_way:
        if older.release == release.id:
            return _change(connection, older, spec, names, at=at, by=by)
    _check_newer(connection, release, history, spec.fleet)
    rollout = Rollout(
        id=_rollout_id(release.id, spec.fleet, history),
        fleet=spec.fleet,
        model=release.model,
        release=release.id,
        previous=desired(spec.fleet, history).default.get(release.model, ""),
        spec=spec,
        waves=plan(names, spec),
        created_at=at,
    )
    for older in under_way:
        _supersede(connection, older, rollout, at=at, by=by)
    store.add(rollout)
    after = {"release": release.id, "fleet": spec.fleet, "waves": [list(wave.devices) for wave in rollout.waves]}
    AuditLog(connection).add(
        at=at, actor=by, action="rollout.create", subject=rollout.id, reason=spec.reason, after=after
    )
    Events(connection).add("rollout.created", rollout.id, f"{release.id} is to reach {spec.fleet}", at=at, **after)
    return rollout


def _change(
    connection: Connection, rollout: Rollout, spec: Spec, names: Sequence[str], *, at: float, by: str
) -> Rollout:
    """Follow another specification from the next wave on; nothing happens when it says the same already."""
    if rollout.spec == msgspec.structs.replace(spec, reason=rollout.spec.reason):  # whyever it is said again
        return rollout
    changed = retarget(rollout, spec, names)
    Rollouts(connection).save(changed)
    waves = [list(wave.devices) for wave in changed.waves]
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="rollout.change",
        subject=rollout.id,
        reason=spec.reason,
        before={"spec": document_of(rollout.spec)},
        after={"spec": document_of(spec), "waves": waves},
    )
    Events(connection).add("rollout.changed", rollout.id, f"{rollout.id} follows another plan", at=at, waves=waves)
    return changed


def _supersede(connection: Connection, older: Rollout, newer: Rollout, *, at: float, by: str) -> None:
    over = supersede(older, by=newer.id, at=at)
    Rollouts(connection).save(over)
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="rollout.supersede",
        subject=older.id,
        reason=over.reason,
        before={"state": older.state.value},
        after={"state": over.state.value},
    )


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


def _with_approvals(spec: Spec, line: ModelLine | None) -> Spec:
    """What the model line asks for is the least: who orders a rollout cannot spare himself the others' eyes."""
    least = line.approvals if line is not None else 0
    return spec if spec.approvals >= least else msgspec.structs.replace(spec, approvals=least)


def _proving(connection: Connection, spec: Spec, release: ReleaseRow, names: Sequence[str]) -> Spec:
    """With those among the canaries who are the first to run what nobody has run."""
    document = release.document()
    if all(variant.label != UNEXECUTED for variant in document.variants):
        return spec  # nothing is asked of thousands of devices then
    wanted = set(names)
    able = {
        each.id: Ability(hardware=each.hardware, runtimes=each.runtimes)
        for each in Devices(connection).enrolled(fleet=spec.fleet)
        if each.id in wanted
    }
    return with_provers(spec, document, able)


def _line(connection: Connection, model: str) -> ModelLine | None:
    row = Lines(connection).find(model)
    return line_from(row.document) if row else None


def _spec(line: ModelLine | None, request: RolloutRequest, *, fleet: str, devices: Sequence[str]) -> Spec:
    """The line's terms, with what the request says otherwise; the line's canaries elsewhere are not missed here."""
    spec = line.terms(request.release, fleet=fleet) if line is not None else Spec(release=request.release, fleet=fleet)
    replace = msgspec.structs.replace
    if request.canaries is None:
        here = tuple(name for name in spec.canaries if name in devices)
        spec = replace(spec, canaries=here or tuple(sorted(devices)[:1]))
    else:
        spec = replace(spec, canaries=tuple(request.canaries))
    if request.waves is not None:
        spec = replace(spec, waves=shares(request.waves), growth=None)
    if request.soak_s is not None:
        spec = replace(spec, soak_s=request.soak_s)
    if request.deadline_s is not None:
        spec = replace(spec, deadline_s=request.deadline_s)
    return check(replace(spec, reason=request.reason))


def _rollout_id(release: str, fleet: str, history: Sequence[Rollout]) -> str:
    taken = sum(rollout.release == release for rollout in history)
    return f"{release}-{fleet}" + (f"-{taken + 1}" if taken else "")
