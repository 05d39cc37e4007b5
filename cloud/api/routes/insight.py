"""What the devices tell: drift, telemetry, the timeline, the audit log, health."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import Query

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, reply
from cloud.api.services import Parts, Stranger, Viewer, allow
from cloud.api.sight import Sight
from cloud.api.views.drift import drift_view
from cloud.api.views.telemetry import telemetry_summary
from cloud.audit.log import AuditLog
from cloud.store.events import Events
from cloud.tls import verdict
from shared.api import Drift, Event, Health, TelemetrySummary
from shared.audit import AuditRow, Witness

router = Routes(tags=["insight"])

Page = Annotated[int, Query(ge=1, le=5_000)]
After = Annotated[int, Query(ge=0, lt=1 << 63)]  # the database counts no further
Auditor = Annotated[Principal, allow(Action.SEE_AUDIT)]


@router.get("/drift")
def drift(parts: Parts, by: Viewer, device: str | None = None) -> Answer[Drift]:
    """Scores over time and devices in alarm."""
    with parts.database.read() as connection:
        return reply(drift_view(connection, device=device, only=Sight(connection, parts, by).only))


@router.get("/telemetry/summary")
def telemetry(parts: Parts, by: Viewer) -> Answer[TelemetrySummary]:
    """Records sent and stored, accuracy over time, figures of inference."""
    with parts.database.read() as connection:
        return reply(telemetry_summary(connection, only=Sight(connection, parts, by).only))


@router.get("/events")
def events(parts: Parts, by: Viewer, after: After = 0, limit: Page = 500) -> Answer[list[Event]]:
    """The timeline after an event's id, oldest first."""
    with parts.database.read() as connection:
        subjects = Sight(connection, parts, by).subjects()
        rows = Events(connection).after(after, limit=limit, subjects=subjects)
    return reply([Event(id=r.id, at=r.at, kind=r.kind, subject=r.subject, text=r.text, data=r.data) for r in rows])


@router.get("/audit")
def audit(parts: Parts, by: Auditor, after: After = 0, limit: Page = 5_000) -> Answer[list[AuditRow]]:
    """Rows of the audit log after a number; `shared.audit.verify` checks the chain."""
    parts.gate.require(by, Action.SEE_AUDIT)
    with parts.database.read() as connection:
        return reply(AuditLog(connection).rows(after=after, limit=limit))


@router.get("/audit/anchors")
def anchors(parts: Parts, by: Auditor) -> Answer[Witness]:
    """What was noted of earlier heads of the log, outside the database."""
    parts.gate.require(by, Action.SEE_AUDIT)
    return reply(parts.witness())


@router.get("/health", dependencies=[Stranger])
def health(parts: Parts) -> Answer[Health]:
    """Whether the coordinator can do its part. Open to all, for probes."""
    left = dict(parts.certificates())
    found = {**parts.health(), "own certificates": verdict(left)}
    status = "ok" if all(value.split(":")[0] == "ok" for value in found.values()) else "degraded"
    return reply(
        Health(
            status=status,
            version=version("hinterland"),
            tenant=parts.tenant,
            at=parts.clock.now(),
            parts=found,
            certificates=left,
        )
    )
