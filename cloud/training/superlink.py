"""Flower's SuperLink as one of our processes: its application, behind our doors, under TLS.

The one module that uses `flwr.superlink` privately.
"""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cloud.tls import LiveContext
from cloud.training.doors import Application, Doors, Receive, Scope, Send
from shared.durable import make_directory

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

GRACE_S = 2
"""How long SIGTERM waits for calls in progress: an idle keep-alive connection would hold it for 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkSettings:
    """Where the SuperLink listens and what it keeps."""

    host: str
    """Address that devices reach; loopback in simulations."""

    port: int
    certificate: Path
    """PEM chain of the server, with `host` among its names."""

    key: Path
    """PEM private key of the certificate."""

    ca: Path
    """PEM certificates that sign the server's; only handed on to Flower, which wants to know it."""

    database: Path
    """SQLite file. Without one, a killed SuperLink forgets every run and every node."""

    control_token: str
    """What the coordinator shows to pass the doors, at least 32 characters."""


def quieten() -> None:
    """Turn off what calls home and what installs at run time; before Flower is imported, which reads it then."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
    logging.getLogger("flwr").setLevel(logging.WARNING)


def serve(settings: SuperLinkSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = build_server(settings)
    server.config.load()
    context = cast(ssl.SSLContext, server.config.ssl)
    LiveContext(context, certificate=settings.certificate, key=settings.key).follow_in_background()
    server.run()


def build_server(settings: SuperLinkSettings) -> uvicorn.Server:
    """Make the server without starting it."""
    import uvicorn

    config = uvicorn.Config(
        build(settings),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30,  # s: idle devices poll every second or two and should not shake hands each time
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
    )
    return uvicorn.Server(config)


def build(settings: SuperLinkSettings) -> Application:
    """The guarded application; creates the database when there is none."""
    quieten()
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app

    quieten()  # importing Flower sets its logger's level
    make_directory(settings.database.parent)
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=settings.host,
        port=settings.port,
        insecure=False,
        certificates=(settings.ca.read_bytes(), settings.certificate.read_bytes(), settings.key.read_bytes()),
        superexec_auth_secret=None,
        authn_plugin=NoOpControlAuthnPlugin(),  # our doors authenticate
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type="grpc-rere",
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(settings.ca),
        ssl_certfile=str(settings.certificate),
        ssl_keyfile=str(settings.key),
        database=str(settings.database),
        isolation="process",  # runs are processes of ours: SuperLink starts none
        runtime_dependency_install=False,
    )
    application = create_app(config, SuperLinkLifespan)
    _without_idle_layers(application)
    return Doors(_one_at_a_time(cast(Application, application)), token=settings.control_token)


def _one_at_a_time(inner: Application) -> Application:
    """Let one worker thread serve all calls.

    SQLite has one writer, and whoever finds it taken sleeps up to 100 ms: with Starlette's 40 threads a call took
    75 ms in the middle of a round of three devices, of which 5 ms were work.
    """
    import anyio.to_thread

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        await inner(scope, receive, send)

    return limited


def _without_idle_layers(application: FastAPI) -> None:
    """Take out the middleware that does nothing without Flower's event log, licence and tracing plug-ins.

    Each layer costs every call of every device, whether it acts or not; what authenticates, translates or reports
    errors stays.
    """
    from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
    from flwr.superlink.routers.control.middlewares import (
        ControlEventLogMiddleware,
        ControlLicenseMiddleware,
        ControlSensitiveResponseMiddleware,
    )
    from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware

    idle = (
        RuntimeTracingMiddleware,
        ControlEventLogMiddleware,
        ControlLicenseMiddleware,
        ControlSensitiveResponseMiddleware,
        FleetEventLogMiddleware,
    )
    application.user_middleware = [layer for layer in application.user_middleware if layer.cls not in idle]
