"""Serving as a whole, from a device's settings: one desk, the ways to it, and a bounded end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from edge import settings as conf
from edge.drift.window import DriftSettings
from edge.identity import Identity
from edge.inference.host import ModelHost
from edge.pipelines.hooks import Emit
from edge.relay.address import Address
from edge.relay.passport import Passport
from edge.serving.account import NAME
from edge.serving.desk import Desk, Terms
from edge.serving.gate import Gate
from edge.serving.http import Manners
from edge.serving.server import HttpServer, OwnCertificate, is_loopback
from edge.serving.tokens import Tokens
from shared.clock import Clock
from shared.errors import FaultError, RefusedError

DRAIN_S = 5.0
"""How long a stopping agent waits for requests at work."""


class Server(Protocol):
    """One way to the desk."""

    @property
    def port(self) -> int:
        """Where it listens now; 0 while it does not."""
        ...

    def run(self) -> Coroutine[Any, Any, None]:
        """Serve until cancelled."""
        ...


class Serving:
    """The desk and the ways to it."""

    def __init__(self, desk: Desk, servers: Sequence[Server], gate: Gate) -> None:
        self.desk = desk
        self.servers = servers
        self.gate = gate

    async def run(self) -> None:
        """Serve until cancelled; requests at work then get their answers, and nobody else is let in."""
        works = [self.desk.run(), *(each.run() for each in self.servers)]
        tasks = [asyncio.create_task(work, name="serving") for work in works]
        try:
            await asyncio.gather(*map(asyncio.shield, tasks))
        finally:
            self.gate.close()
            await self._emptied()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _emptied(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DRAIN_S
        while self.gate.inside and loop.time() < deadline:  # noqa: ASYNC110 - other threads empty it
            await asyncio.sleep(0.01)


def check_serving(settings: conf.Settings) -> None:
    """Whether what is asked for may be.

    Raises:
        RefusedError: everybody could ask from beyond this machine, or reports of two pipelines would mix.
    """
    serving = settings.serving
    for listen in filter(None, (serving.listen, serving.grpc)):
        if not serving.tokens and not is_loopback(Address.parse(listen)):
            raise RefusedError(
                f"serving without tokens at {listen} would let everybody on the network ask",
                hint="Listen on 127.0.0.1, or leave serving.tokens = true and make tokens.",
            )
    if serving.grpc and find_spec("grpc") is None:
        raise RefusedError(
            "serving.grpc needs gRPC, which is not installed", hint="pip install 'hinterland[edge-grpc]'"
        )
    if bool(serving.certificate) != bool(serving.key):
        raise RefusedError("serving.certificate and serving.key go together", hint="Set both, or neither.")
    if (serving.listen or serving.grpc) and any(each.name == NAME for each in settings.pipelines):
        raise RefusedError(
            f"a pipeline is named {NAME!r}, as what callers ask is in reports", hint="Give it another name."
        )


def make_serving(
    settings: conf.Settings,
    *,
    identity: Identity,
    passport: Passport,
    host: ModelHost,
    emit: Emit,
    clock: Clock,
    pipelines_run: Callable[[], bool],
) -> Serving | None:
    """What the settings ask for; None for nothing.

    Raises:
        RefusedError: as `check_serving`.
    """
    serving = settings.serving
    if not serving.listen and not serving.grpc:
        return None
    check_serving(settings)
    terms = Terms(
        models=serving.models,
        share=serving.share,
        rows=serving.rows,
        answer_s=serving.answer_s,
        cores=settings.inference.threads,
        drift=DriftSettings(inputs=settings.reporting.drift_inputs),
        telemetry_s=settings.reporting.telemetry_s,
    )
    desk = Desk(host, terms, emit=emit, clock=clock, pipelines_run=pipelines_run)
    gate = Gate(most=serving.requests)
    tokens = Tokens(Tokens.place(settings.state)) if serving.tokens else None
    servers: list[Server] = []
    if serving.listen:
        address = Address.parse(serving.listen)
        own = OwnCertificate(Path(serving.certificate), Path(serving.key)) if serving.certificate else None
        context = own.context if own else passport.presenting
        servers.append(
            HttpServer(
                desk,
                listen=address,
                gate=gate,
                tokens=tokens,
                context=(lambda: None) if is_loopback(address) else context,
                manners=Manners(body_bytes=serving.body_mib << 20),
            )
        )
    if serving.grpc:
        from edge.serving.grpc_service import GrpcServer

        address = Address.parse(serving.grpc)
        servers.append(
            GrpcServer(
                desk,
                listen=address,
                gate=gate,
                tokens=tokens,
                pair=None if is_loopback(address) else _pair(serving, identity),
                requests=serving.requests,
                body_bytes=serving.body_mib << 20,
            )
        )
    return Serving(desk, servers, gate)


def _pair(serving: conf.ServingSettings, identity: Identity) -> Callable[[], Any]:
    from edge.serving.grpc_service import Pair

    certificate = Path(serving.certificate) if serving.certificate else identity.certificate_file
    key = Path(serving.key) if serving.key else identity.key_file

    def read() -> Pair:
        try:
            return Pair(certificate.read_bytes(), key.read_bytes())
        except OSError as error:
            raise FaultError(f"{certificate} and its key cannot be read") from error

    return read
