"""The resident trainer: a process that waits for messages of federated runs and answers them, one at a time.

It stays because starting costs more than a round does: importing torch and Flower takes seconds. The agent starts
it again when it dies; when the agent dies, it ends.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from types import FrameType
from typing import NoReturn

from flwr.app import Message
from flwr.clientapp import ClientApp

from edge.facts.linux import LinuxFacts
from edge.training.client import build_client, condition_of, handle
from edge.training.connection import FleetConnection
from edge.training.dataset import DatasetStore
from edge.training.policy import Owner, SitePolicy
from shared import federation as fed
from shared.backoff import Backoff
from shared.clock import Clock, SystemClock
from shared.durable import read_if_present, write_atomic
from shared.errors import RefusedError, TransportError
from shared.task_compute import Compute, placed
from shared.tasks import adapter

log = logging.getLogger(__name__)

BUSY_POLL_S = 0.2
"""Least pause between two looks for a message: a round of a small model takes a second."""

NODE = "node"
"""File in the data directory with this node's id at the SuperLink, for the next process."""

OWED = "owed"
"""File in the data directory with the head of the message in work: the next process says that it was lost."""

IDLE_POLL_S = 1.5
"""Most: each look costs the SuperLink some milliseconds, and there may be thousands of devices."""

SILENCE_SHARE = 0.2
"""Pause as a share of the silence so far: waiting grows by no more than this, and the looks become few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSettings:
    """Who trains, where it listens, and on what."""

    device: str
    superlink: str
    """`host:port`."""

    ca: Path
    """PEM certificates that may sign the SuperLink's."""

    key: Path
    """PEM private key of the device, an elliptic-curve key registered as the node's."""

    data: Path
    """Directory of the device's `DatasetStore`."""

    metered: bool = False
    """Whether the link costs by the byte; told to the coordinator, which may then draw others."""

    policy: SitePolicy = field(default_factory=SitePolicy)
    """What the device's owner allows."""

    compute: Compute = field(default_factory=Compute)
    """Where models train."""


@dataclass(slots=True)
class Unsent:
    """A finished reply that the SuperLink has not taken yet; it outlives the connection it was made on."""

    owed: Path
    """File that survives this process, while a message is in work."""

    message: Message | None = None
    seconds: float = 0.0

    def begin(self, head: bytes) -> None:
        """A message was taken on; a few hundred bytes, since the question can be asked again."""
        write_atomic(self.owed, head)

    def end(self) -> None:
        """It is answered, or nobody waits for it."""
        self.message = None
        self.owed.unlink(missing_ok=True)


def run_trainer(settings: TrainerSettings, *, clock: Clock | None = None, random: Random | None = None) -> None:
    """Serve until SIGTERM, or until the process that started this one is gone.

    Raises:
        FaultError: the key, the CA or the data store cannot be used.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    clock, parent = clock or SystemClock(), os.getppid()

    def alive() -> bool:
        return os.getppid() == parent

    logging.getLogger("flwr").setLevel(logging.WARNING)
    store = DatasetStore(settings.data)
    facts = LinuxFacts()
    app = build_client(
        store,
        condition=lambda: condition_of(facts, metered=settings.metered),
        owner=Owner(settings.policy, clock.now),
        compute=settings.compute,
    )
    unsent = Unsent(settings.data / OWED)
    backoff = Backoff(first_s=0.2, most_s=5.0, random=random or SystemRandom())
    _warm_up(store, settings.compute)
    while alive():
        try:
            with FleetConnection(
                settings.superlink, ca=settings.ca, key=settings.key, known=_known_node(settings)
            ) as connection:
                log.info("%s listens as node %d", settings.device, connection.node)
                write_atomic(settings.data / NODE, str(connection.node).encode())
                confess(connection, unsent)
                _serve(connection, app, unsent=unsent, clock=clock, alive=alive, backoff=backoff)
        except (TransportError, RefusedError) as error:
            pause = backoff.next()
            log.warning("%s; trying again in %.1f s", error, pause)
            time.sleep(pause)


def serve_once(connection: FleetConnection, app: ClientApp, unsent: Unsent, *, clock: Clock) -> bool:
    """One turn: hand in what is finished, then answer the next message; return whether there was one.

    Raises:
        TransportError: the SuperLink does not answer; what is unsent stays so.
        RefusedError: it refuses this node.
    """
    if unsent.message is None:
        message = connection.receive(unsent.begin)
        if message is None:
            return False
        begun = clock.monotonic()
        unsent.message = handle(app, message, connection.node)
        unsent.seconds = clock.monotonic() - begun
    try:
        connection.reply(unsent.message, seconds=unsent.seconds)
    except RefusedError as error:
        log.info("nobody waits for this reply: %s", error)
    unsent.end()
    return True


def confess(connection: FleetConnection, unsent: Unsent) -> None:
    """Say of the message that a process before this one took with it that it is lost.

    Raises:
        TransportError: the SuperLink does not answer; the next connection says it.
    """
    head = read_if_present(unsent.owed)
    if unsent.message is not None or not head:
        return
    try:
        connection.confess(head, fed.LOST)
    except RefusedError as error:
        log.info("nobody waits for what was lost: %s", error)
    unsent.end()


def _serve(
    connection: FleetConnection,
    app: ClientApp,
    *,
    unsent: Unsent,
    clock: Clock,
    alive: Callable[[], bool],
    backoff: Backoff,
) -> None:
    last = clock.monotonic()
    while alive():
        served = serve_once(connection, app, unsent, clock=clock)
        backoff.reset()  # only now: a node that is let in and then refused would otherwise knock all the time
        if served:
            last = clock.monotonic()
        else:
            time.sleep(poll_pause(clock.monotonic() - last))
    # no goodbye: the agent starts the next trainer as soon as it is back itself
    raise TransportError("the agent is gone")


def poll_pause(silence_s: float) -> float:
    """Seconds until the next look, `silence_s` seconds after the last message."""
    return min(IDLE_POLL_S, max(BUSY_POLL_S, SILENCE_SHARE * silence_s))


def _known_node(settings: TrainerSettings) -> int | None:
    text = read_if_present(settings.data / NODE) or b""
    return int(text) if text.isdigit() else None


def _warm_up(store: DatasetStore, compute: Compute) -> None:
    """Import what the first round would otherwise wait for: the frameworks of the tasks that have data here."""
    import onnxruntime  # noqa: F401

    for name in store.tasks():
        try:
            placed(adapter(name), compute).warm_up()
        except (RefusedError, ImportError) as error:  # the round that asks for it will say so to the run
            log.warning("there is data for %s, which cannot be trained here: %s", name, error)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
