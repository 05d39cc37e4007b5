"""Metrics for Prometheus."""

from __future__ import annotations

from fastapi import Response

from cloud.access.principal import Action
from cloud.api.bodies import Routes
from cloud.api.services import Parts, Viewer

router = Routes(tags=["insight"])

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics")
def metrics(parts: Parts, by: Viewer) -> Response:
    """One scrape, in Prometheus' text format; for viewers of every fleet, since it counts over all of them."""
    parts.gate.require(by, Action.SEE)
    return Response(parts.metrics(), media_type=TEXT)
