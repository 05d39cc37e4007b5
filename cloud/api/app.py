"""The application: routes under `/v1`, problems as answers, and no route without an action that the policy names."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute

from cloud.api import problems
from cloud.api.described import describe
from cloud.api.headers import Headers
from cloud.api.routes import (
    approvals,
    devices,
    enrolment,
    fleets,
    insight,
    jobs,
    keys,
    metrics,
    models,
    privacy,
    quarantine,
    releases,
    rollouts,
    runs,
)
from cloud.api.services import Services, action_of, is_open
from shared.api import PREFIX

ROUTES = (
    enrolment,
    keys,
    devices,
    fleets,
    models,
    runs,
    jobs,
    privacy,
    quarantine,
    releases,
    approvals,
    rollouts,
    insight,
    metrics,
)


def create_app(services: Services) -> FastAPI:
    """The API over `services`.

    Raises:
        TypeError: a route says neither which action it is nor that it is open to all.
    """
    app = FastAPI(title="Hinterland coordinator", version="1", docs_url=None, redoc_url=None)
    app.state.services = services
    app.add_middleware(Headers)
    problems.install(app)
    routes = [route for module in ROUTES for route in module.router.routes if isinstance(route, APIRoute)]
    check_declared(routes)
    for module in ROUTES:
        app.include_router(module.router, prefix=PREFIX)
    app.openapi = lambda: describe(app, routes, prefix=PREFIX)  # type: ignore[method-assign]  # the documented way
    return app


def check_declared(routes: Sequence[APIRoute]) -> None:
    """Refuse to serve a route that nobody decided about.

    Raises:
        TypeError: as said.
    """
    undeclared = [route.path for route in routes if action_of(route) is None and not is_open(route)]
    if undeclared:
        raise TypeError(f"{undeclared[0]} declares no action")
