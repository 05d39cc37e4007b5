"""Family `floods`: too many connections, too large a packet, a reader that does not read."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from cloud.devices.broker import MAX_PACKET
from shared import topics
from shared.ids import DeviceId
from shared.topics import Up
from simulations.scenarios.attacks.ground import CALM, GUESTS, HONEST, YARD, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import PATIENCE_S, Session, came
from simulations.world.ports import LOOPBACK

FLOODER = DeviceId("flooder-1")
CONNECTIONS, LANES = 300, 12


def attacks(ground: Ground) -> Iterator[Attack]:
    """One hostile device with a good certificate; the control is the device that nobody attacks."""
    ground.enrol(FLOODER, fleet=GUESTS)
    yield Attack(
        name="connect-storm",
        threat=Threat.FLOOD,
        victim="broker",
        done=f"opened {CONNECTIONS} and more TLS connections with a device's certificate as fast as it could",
        control="the honest device is heard during the storm and after it",
        act=lambda: _storm(ground),
    )
    yield Attack(
        name="half-open-connections",
        threat=Threat.FLOOD,
        victim="broker",
        done="opened 100 connections and said nothing on them",
        control="the honest device is heard meanwhile, and another connects",
        act=lambda: _half_open(ground),
    )
    yield Attack(
        name="oversized-packet",
        threat=Threat.FLOOD,
        victim="broker",
        done=f"published {(MAX_PACKET >> 20) + 1} MiB in one packet on its own topic",
        control="a packet of 64 KiB on the same topic: delivered",
        act=lambda: _oversized(ground),
    )
    yield Attack(
        name="slow-reader",
        threat=Threat.FLOOD,
        victim="broker",
        done="subscribed to every chunk, and stopped reading while a model was sent",
        control="the honest device fetches that model at once",
        act=lambda: _slow(ground),
    )


STORM_S = 60.0
"""Longest storm; it ends when the honest device is heard, which reports twice a second."""


def _storm(ground: Ground) -> Seen:
    context, mark = ground.papers_of(FLOODER).context(), ground.mark()
    began = time.monotonic()

    def dial(_number: int) -> bool:
        try:
            with (
                socket.create_connection((LOOPBACK, ground.port), timeout=PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname=LOOPBACK) as tls,
            ):
                tls.send(b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc")
                return True
        except OSError:
            return False

    opened = 0
    with ThreadPoolExecutor(LANES) as pool:  # until the honest device has spoken in it, or has had time to
        while not opened or (not ground.telemetry_of(HONEST, after=mark) and time.monotonic() - began < STORM_S):
            opened += sum(pool.map(dial, range(CONNECTIONS)))
    took, during = time.monotonic() - began, len(ground.telemetry_of(HONEST, after=mark))
    after = ground.serves()
    return Seen(
        refused=during > 0 and after and not ground.tap.lost.is_set(),
        observed=f"{opened} connections in {took:.1f} s; meanwhile {during} reports of the honest device",
        accepted=during > 0 and after,
    )


def _half_open(ground: Ground) -> Seen:
    mark = ground.mark()
    sockets = [socket.create_connection((LOOPBACK, ground.port), timeout=PATIENCE_S) for _ in range(100)]
    try:
        with ground.session(FLOODER) as honest:
            said = honest.publish(topics.up(FLOODER, Up.DRIFT), b"hello")
        heard = came(lambda: bool(ground.telemetry_of(HONEST, after=mark)))
    finally:
        for each in sockets:
            each.close()
    return Seen(
        refused=heard and said in ("Success", "No matching subscribers"),
        observed=f"100 silent connections; {len(ground.telemetry_of(HONEST, after=mark))} honest reports meanwhile",
        accepted=heard,
    )


def _oversized(ground: Ground) -> Seen:
    topic, mark = topics.up(FLOODER, Up.DRIFT), ground.mark()
    with ground.session(FLOODER) as flooder:
        said = flooder.publish(topic, bytes(MAX_PACKET + (1 << 20)))
        ended = came(flooder.lost.is_set)
    with ground.session(FLOODER) as honest:
        honest.publish(topic, bytes(64 << 10))
    accepted = came(lambda: any(len(each.payload) == 64 << 10 for each in ground.tap.on(topic, after=mark)))
    largest = max((len(each.payload) for each in ground.tap.on(topic, after=mark)), default=0)
    return Seen(
        refused=largest <= MAX_PACKET and ended,
        error=f"the broker ended the session: {said}" if ended else "",
        observed=f"the largest packet that was delivered has {largest} bytes",
        accepted=accepted,
    )


def _slow(ground: Ground) -> Seen:
    from simulations.scenarios.attacks import models

    mark = ground.mark()
    with Session(ground.port, ground.papers_of(FLOODER), name=FLOODER) as slow:
        slow.subscribe(f"{topics.ROOT}/blob/#")
        slow.pause()
        release = ground.release(CALM, models.honest(5, ballast=8 << 20))
        began = time.monotonic()
        ground.roll_out(release, fleet=YARD)
        status = ground.wait_status(HONEST, "active", "failed", release=release, after=mark)
        took = time.monotonic() - began
    return Seen(
        refused=status.stage == "active",
        observed=f"a model of 8 MiB served after {took:.1f} s beside a reader that read nothing",
        accepted=status.stage == "active" and ground.serves(),
    )
