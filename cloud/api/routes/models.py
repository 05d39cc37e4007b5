"""Model lines: what is trained, judged and rolled out, and how."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, SharedViewer, allow
from cloud.api.sight import Sight
from cloud.loop.orders import apply_line
from cloud.store.lines import LineRow, Lines
from shared.api import Line

router = Routes(prefix="/models", tags=["models"])


@router.get("")
def lines(parts: Parts, by: SharedViewer) -> Answer[list[Line]]:
    """Every model line."""
    with parts.database.read() as connection:
        sight = Sight(connection, parts, by)
        return reply([_view(sight.line(row)) for row in Lines(connection).all()])


@router.get("/{name}")
def line(parts: Parts, by: SharedViewer, name: str) -> Answer[Line]:
    """One model line."""
    with parts.database.read() as connection:
        return reply(_view(Sight(connection, parts, by).line(Lines(connection).get(name))))


@router.put("/{name}")
def put_line(
    parts: Parts,
    by: Annotated[Principal, allow(Action.CHANGE_LINE)],
    name: str,
    reason: Reason,
    document: Annotated[dict[str, Any], Depends(body(dict[str, Any]))],
    *,
    dry_run: bool = False,
) -> Answer[Line]:
    """Create or replace a model line; or say what it would be."""
    parts.gate.require(by, Action.CHANGE_LINE)
    with parts.database.rehearse() if dry_run else parts.database.write() as connection:
        row = apply_line(connection, name, document, at=parts.clock.now(), by=by.actor, reason=reason)
    if not dry_run:
        parts.wake()
    return reply(_view(row))


def _view(row: LineRow) -> Line:
    return Line(name=row.name, document=row.document, updated_at=row.updated_at)
