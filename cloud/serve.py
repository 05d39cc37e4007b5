"""The coordinator as a process: API, bus and loop until a signal comes."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import cast

import uvicorn

from cloud.settings import Settings
from cloud.tls import LiveContext
from cloud.wiring import Coordinator, build, run_until
from shared.errors import RefusedError

log = logging.getLogger(__name__)

STOP_S = 1.5
"""Longest time from a signal to the end; state on disk is right at any moment, so waiting longer buys nothing."""

MAX_CONNECTIONS = 1000
"""Beyond which a caller is told to come back: slow ones cost a descriptor each, and must not take all of them."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        RefusedError: the port is in use, or another coordinator works on the directory.
        HinterlandError: a part cannot be opened.
    """
    with one_of(settings), listening(settings) as listener:
        coordinator = build(settings)
        settle()
        asyncio.run(_serve(coordinator, listener))


def settle() -> None:
    """Keep what was built so far out of the garbage collector's sight: it stays to the end anyway.

    Walking it took 80 to 160 ms, several times a second under load, and nothing else ran meanwhile.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Be the only process that changes the directory.

    Raises:
        RefusedError: another one does.
    """
    with _locked(settings.layout.lock, fcntl.LOCK_EX):
        yield


def is_busy(settings: Settings) -> bool:
    """Whether some process works on the directory at the moment."""
    try:
        with only_one(settings):
            return False
    except RefusedError:
        return True


@contextmanager
def one_of(settings: Settings) -> Iterator[None]:
    """Be the only process of this replica's name, and keep out whoever knows of no replicas; alone without a name.

    Raises:
        RefusedError: another process has the name, or works here alone.
    """
    layout, name = settings.layout, settings.cluster.replica
    if settings.cluster.replicas and not name:
        raise RefusedError(
            f"this coordinator is one of {', '.join(settings.cluster.replicas)}, and was not told which",
            hint="Say it: HINTERLAND_CLUSTER_REPLICA.",
        )
    if not name:
        with only_one(settings):
            yield
        return
    with _locked(layout.replica_lock(name), fcntl.LOCK_EX), _locked(layout.lock, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another coordinator works on {path.parent}", hint="Stop it first.") from None
        yield


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The API's socket, bound before anything else is opened.

    Raises:
        RefusedError: the port is in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in settings.api.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.api.host, settings.api.port))
        except OSError as error:
            raise RefusedError(
                f"the API cannot listen on {settings.api.host}:{settings.api.port}: {error.strerror}",
                hint="Stop what uses the port, or choose another: HINTERLAND_API_PORT.",
            ) from error
        yield listener


async def _serve(coordinator: Coordinator, listener: socket.socket) -> None:
    stop, layout = asyncio.Event(), coordinator.settings.layout
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _begin_to_stop, stop)
    config = uvicorn.Config(
        coordinator.app,
        ssl_certfile=str(layout.certificate("api")),
        ssl_keyfile=str(layout.key("api")),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",  # bounds a request's head, which httptools does not
        h11_max_incomplete_event_size=64 << 10,  # a token of 16 KiB fits, with room
        timeout_keep_alive=5,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    config.load()
    context = cast(ssl.SSLContext, config.ssl)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    tls = LiveContext(context, certificate=layout.certificate("api"), key=layout.key("api"))
    api = _Server(config)
    log.info("serving %s", coordinator.settings.url)
    try:
        await run_until(stop, {"api": api.serve(sockets=[listener]), "tls": tls.run(), **coordinator.tasks()})
    finally:
        await asyncio.to_thread(coordinator.close)
    log.info("stopped")


def _begin_to_stop(stop: asyncio.Event) -> None:
    stop.set()
    # A worker thread may hang in a call to a server that does not answer; nothing is lost by not waiting for it.
    watchdog = threading.Timer(STOP_S, os._exit, [0])
    watchdog.daemon = True
    watchdog.start()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would raise the signal a second time."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a plain one will do
        return nullcontext()
