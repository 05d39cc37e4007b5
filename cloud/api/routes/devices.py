"""Devices, and why each runs what it runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from cloud.api.views.devices import device_view, device_views
from cloud.api.views.lineage import lineage
from shared.api import Revocation

router = APIRouter(prefix="/devices", tags=["devices"])


@router.get("")
def devices(parts: Parts, _by: Operator) -> Response:
    """Every device with the state of its models."""
    with parts.database.read() as connection:
        return reply(device_views(connection))


@router.get("/{device}")
def one_device(parts: Parts, _by: Operator, device: str) -> Response:
    """One device."""
    with parts.database.read() as connection:
        return reply(device_view(connection, device))


@router.get("/{device}/why")
def why(parts: Parts, _by: Operator, device: str) -> Response:
    """Release, run, rounds, cohort, evaluation, variant, signers, wave and live figures behind what it runs."""
    with parts.database.read() as connection:
        return reply(lineage(connection, device))


@router.post("/{device}/revoke")
def revoke(
    parts: Parts, by: Operator, device: str, request: Annotated[Revocation, Depends(body(Revocation))]
) -> Response:
    """Shut a device out."""
    parts.desk.revoke(device, reason=request.reason, by=by)
    parts.wake()
    with parts.database.read() as connection:
        return reply(device_view(connection, device))
