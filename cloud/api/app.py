"""The application: routes under `/v1`, problems as answers."""

from __future__ import annotations

from fastapi import FastAPI

from cloud.api import problems
from cloud.api.routes import devices, enrolment, insight, models, releases, rollouts, runs
from cloud.api.services import Services
from shared.api import PREFIX


def create_app(services: Services) -> FastAPI:
    """The API over `services`."""
    app = FastAPI(title="Hinterland coordinator", version="1", docs_url=None, redoc_url=None)
    app.state.services = services
    problems.install(app)
    for module in (enrolment, devices, models, runs, releases, rollouts, insight):
        app.include_router(module.router, prefix=PREFIX)
    return app
