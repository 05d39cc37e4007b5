"""The application: routes under `/v1`, problems as answers, and no route without an action that the policy names."""

from __future__ import annotations

from fastapi import FastAPI

from cloud.api import problems
from cloud.api.described import api_routes, describe
from cloud.api.headers import Headers
from cloud.api.routes import approvals, devices, enrolment, insight, keys, models, releases, rollouts, runs
from cloud.api.services import Services, action_of, is_open
from shared.api import PREFIX

ROUTES = (enrolment, keys, devices, models, runs, releases, approvals, rollouts, insight)


def create_app(services: Services) -> FastAPI:
    """The API over `services`.

    Raises:
        TypeError: a route says neither which action it is nor that it is open to all.
    """
    app = FastAPI(title="Hinterland coordinator", version="1", docs_url=None, redoc_url=None)
    app.state.services = services
    app.add_middleware(Headers)
    problems.install(app)
    for module in ROUTES:
        app.include_router(module.router, prefix=PREFIX)
    undeclared = [route.path for route in api_routes(app) if action_of(route) is None and not is_open(route)]
    if undeclared:
        raise TypeError(f"{undeclared[0]} declares no action")
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # the documented way to replace it
    return app
