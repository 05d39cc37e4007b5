"""Model lines: what is trained, judged and rolled out, and how."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from cloud.loop.orders import apply_line
from cloud.store.lines import LineRow, Lines
from shared.api import Line

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def lines(parts: Parts, _by: Operator) -> Response:
    """Every model line."""
    with parts.database.read() as connection:
        return reply([_view(row) for row in Lines(connection).all()])


@router.get("/{name}")
def line(parts: Parts, _by: Operator, name: str) -> Response:
    """One model line."""
    with parts.database.read() as connection:
        return reply(_view(Lines(connection).get(name)))


@router.put("/{name}")
def put_line(
    parts: Parts, by: Operator, name: str, document: Annotated[dict[str, Any], Depends(body(dict[str, Any]))]
) -> Response:
    """Create or replace a model line."""
    with parts.database.write() as connection:
        row = apply_line(connection, name, document, at=parts.clock.now(), by=by.actor)
    parts.wake()
    return reply(_view(row))


def _view(row: LineRow) -> Line:
    return Line(name=row.name, document=row.document, updated_at=row.updated_at)
