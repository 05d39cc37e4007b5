"""The way to the coordinator: name, port, TLS, session, and whether the broker gives what this device may read.

A device has one session: a second one would end the first, and raise the alarm of a copied identity. So a session of
our own is opened only where no agent runs; the one that runs says how its own is. Nothing is ever published.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from random import SystemRandom

from edge.identity import Identity
from edge.identity.floor import KnownTime
from edge.link.endpoint import endpoint_of
from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient
from shared import topics
from shared.bus.mqtt import Endpoint, MqttBus
from shared.errors import HinterlandError
from shared.tls import judged_by

REACH_S = 5.0
SESSION_S = 10.0
MESSAGE_S = 4.0
"""From the session to the first retained message, which a broker sends at once."""


def check_broker(patient: Patient) -> Iterator[Finding]:
    """Each step as far as it goes."""
    identity = patient.identity
    if identity is None:
        yield warn("broker", "which one it is, this device learns when it enrols", "Enrol it first.")
        return
    known = KnownTime(patient.clock, identity.authority_file, identity.certificate_file)
    where = f"{identity.broker_host}:{identity.broker_port}"
    problem = _reach(identity, known)
    if problem is not None:
        yield fail("broker", f"{where}: {problem[0]}", problem[1])
        return
    yield ok("broker", f"{where} answers over TLS, proven by this device's authority")
    if patient.status is not None:
        yield from _running(patient)
        return
    wrong = asyncio.run(try_session(identity, endpoint_of(identity, now=known)))
    if wrong:
        yield fail("session", wrong, "Ask the operator whether this device is revoked: `hinterland device why NAME`.")
    else:
        yield ok("session", "the broker lets this device in and gives it the signed metadata")


def check_outbox(patient: Patient) -> Iterator[Finding]:
    """What waits, and what was given up."""
    if patient.status is None:
        return
    link = patient.status.link
    waiting, lost = sum(link.waiting.values()), sum(link.lost.values())
    if not link.durable:
        yield fail(
            "outbox", "records are kept in memory: the disk takes none", "Check the disk, then restart the agent."
        )
    elif lost:
        yield warn(
            "outbox", f"{waiting} records wait, {lost} were given up", "Raise reporting.outbox_mib, or mend the link."
        )
    else:
        yield ok("outbox", f"{waiting} records wait")


def _running(patient: Patient) -> Iterator[Finding]:
    status = patient.status
    if status is None:
        return
    if status.link.connected:
        yield ok("session", f"the agent has its session, number {status.link.sessions}")
    else:
        yield fail(
            "session",
            "the agent has no session with the broker",
            "Its log says why. If the broker is well, ask the operator whether this device is revoked.",
        )


def _reach(identity: Identity, known: Callable[[], float]) -> tuple[str, str] | None:
    """What is in the way of a proven TLS connection, and the remedy."""
    address = (identity.broker_host, identity.broker_port)
    try:
        context = judged_by(identity.tls(), identity.authority_file.read_text(), now=known)
    except (OSError, ValueError, HinterlandError) as error:
        return str(error), "Enrol this device again."
    try:
        with socket.create_connection(address, timeout=REACH_S) as plain:
            plain.settimeout(REACH_S)
            with context.wrap_socket(plain, server_hostname=identity.server_name or identity.broker_host):
                return None
    except socket.gaierror as error:
        return f"the name is not known: {error.strerror}", "Check the resolver (/etc/resolv.conf)."
    except ssl.SSLError as error:
        return f"TLS failed: {error.reason or error}", "Somebody else answers there, or the clock is wrong."
    except TimeoutError:
        return f"no answer within {REACH_S:g} s", "A firewall on the way may drop it: open outgoing TCP to this port."
    except OSError as error:
        return str(error.strerror or error), "Check the link, and whether the broker runs."


async def try_session(identity: Identity, endpoint: Endpoint) -> str:
    """Open a session and wait for a retained message; what is wrong, empty for nothing.

    A broker grants subscriptions that it will never serve: only a message that comes proves a right.
    """
    bus = MqttBus(endpoint, identity=identity.device, random=SystemRandom())
    came = asyncio.Event()

    async def take(_delivery: object) -> None:
        came.set()

    bus.on(topics.tuf_all(identity.tenant), take)
    running = asyncio.create_task(bus.run(), name="doctor")
    try:
        async with asyncio.timeout(SESSION_S):
            while not bus.sessions:  # noqa: ASYNC110 - a bus tells nobody
                await asyncio.sleep(0.05)
        async with asyncio.timeout(MESSAGE_S):
            await came.wait()
    except TimeoutError:
        if bus.sessions:
            return "the broker lets this device in, but gives it no signed metadata"
        return "the broker does not let this device in"
    else:
        return ""
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
