"""What the devices tell: drift, telemetry, the timeline, the audit log, health."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud.api.bodies import reply
from cloud.api.services import Operator, Parts
from cloud.api.views.drift import drift_view
from cloud.api.views.telemetry import telemetry_summary
from cloud.audit.log import AuditLog
from cloud.store.events import Events
from cloud.tls import verdict
from shared.api import Event, Health

router = APIRouter(tags=["insight"])

Page = Annotated[int, Query(ge=1, le=5_000)]


@router.get("/drift")
def drift(parts: Parts, _by: Operator, device: str | None = None) -> Response:
    """Scores over time and devices in alarm."""
    with parts.database.read() as connection:
        return reply(drift_view(connection, device=device))


@router.get("/telemetry/summary")
def telemetry(parts: Parts, _by: Operator) -> Response:
    """Records sent and stored, accuracy over time, figures of inference."""
    with parts.database.read() as connection:
        return reply(telemetry_summary(connection))


@router.get("/events")
def events(parts: Parts, _by: Operator, after: int = 0, limit: Page = 500) -> Response:
    """The timeline after an event's id, oldest first."""
    with parts.database.read() as connection:
        rows = Events(connection).after(after, limit=limit)
    return reply([Event(id=r.id, at=r.at, kind=r.kind, subject=r.subject, text=r.text, data=r.data) for r in rows])


@router.get("/audit")
def audit(parts: Parts, _by: Operator, after: int = 0, limit: Page = 5_000) -> Response:
    """Rows of the audit log after a number; `shared.audit.verify` checks the chain."""
    with parts.database.read() as connection:
        return reply(AuditLog(connection).rows(after=after, limit=limit))


@router.get("/audit/anchors")
def anchors(parts: Parts, _by: Operator) -> Response:
    """What was noted of earlier heads of the log, outside the database."""
    return reply(parts.witness())


@router.get("/health")
def health(parts: Parts) -> Response:
    """Whether the coordinator can do its part. Open to all, for probes."""
    left = dict(parts.certificates())
    found = {**parts.health(), "own certificates": verdict(left)}
    status = "ok" if all(value == "ok" for value in found.values()) else "degraded"
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
