"""What the real broker takes and refuses; rights are tested by delivery."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from random import Random

import pytest

from cloud.devices.broker import BrokerFiles, Grant
from cloud.devices.reload import Reload
from shared import topics
from shared.bus.mqtt import Endpoint, MqttBus
from shared.errors import FaultError, RefusedError
from shared.ids import device_id, fleet_id, tenant_id
from simulations.broker import Broker, find_mosquitto
from simulations.world.ports import free_ports

pytestmark = pytest.mark.system

A, B = device_id("device-a"), device_id("device-b")
NORTH, ACME = fleet_id("north"), tenant_id("acme")
GRANTS = [Grant(A, NORTH, ACME), Grant(B, NORTH, ACME)]


def bus(mosquitto, name, identity=None, timeout_s=20):
    return MqttBus(mosquitto.endpoint(name), identity=identity or name, random=Random(1), timeout_s=timeout_s)


async def test_a_revoked_device_falls_silent_at_once_and_cannot_come_back(make_mosquitto, running, until):
    mosquitto = make_mosquitto(GRANTS, revocations=True)
    coordinator, stolen, honest = (bus(mosquitto, name) for name in ("coordinator", A, B))
    heard, leaked = [], []

    async def hear(delivery):
        heard.append(delivery.payload)

    async def leak(delivery):
        leaked.append(delivery.payload)

    coordinator.on("hl/1/d/+/up/telemetry", hear)
    stolen.on("hl/1/#", leak)
    async with running(coordinator, stolen, honest):
        await stolen.publish(topics.up(A, topics.Up.TELEMETRY), b"before")
        await until(lambda: heard == [b"before"])
        mosquitto.allow([GRANTS[1]])
        mosquitto.revoked.write_bytes(mosquitto.certificates.revoke(A))
        await mosquitto.reload(coordinator)
        await stolen.publish(topics.up(A, topics.Up.TELEMETRY), b"after")
        await coordinator.publish(topics.desired(NORTH), b"secret")
        await coordinator.publish(topics.down(A, topics.Down.COMMAND), b"secret")
        await honest.publish(topics.up(B, topics.Up.TELEMETRY), b"honest")
        await until(lambda: b"honest" in heard)
        assert b"after" not in heard
        assert leaked == []
        again = bus(mosquitto, A, timeout_s=2)  # it will be refused, and ending it takes so long
        session = asyncio.create_task(again.run())
        await asyncio.sleep(1)
        assert not again.connected
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


async def test_what_watches_beside_the_broker_shuts_a_revoked_device_out(make_mosquitto, running, until, tmp_path):
    mosquitto = make_mosquitto(GRANTS, revocations=True)
    (tmp_path / "pid").write_text(str(mosquitto.broker.pid))
    watch = Reload(replace(mosquitto.files, pid=tmp_path / "pid"))
    watch.look()
    coordinator, stolen, honest = (bus(mosquitto, name) for name in ("coordinator", A, B))
    heard = []

    async def hear(delivery):
        heard.append(delivery.payload)

    coordinator.on("hl/1/d/+/up/telemetry", hear)
    async with running(coordinator, stolen, honest):
        await stolen.publish(topics.up(A, topics.Up.TELEMETRY), b"before")
        await until(lambda: heard == [b"before"])
        mosquitto.allow([GRANTS[1]])
        assert watch.look()
        for _ in range(3):  # it heeds signals between two rounds of its loop
            await coordinator.publish(f"{topics.ROOT}/reloading", b"")
        await stolen.publish(topics.up(A, topics.Up.TELEMETRY), b"after")
        await honest.publish(topics.up(B, topics.Up.TELEMETRY), b"honest")
        await until(lambda: b"honest" in heard)
        assert b"after" not in heard


async def test_a_client_id_cannot_push_another_device_off(make_mosquitto, running, until):
    mosquitto = make_mosquitto(GRANTS)
    honest, thief = bus(mosquitto, A), bus(mosquitto, B, identity=A)
    async with running(honest, thief):
        await asyncio.sleep(0.3)
        assert (honest.connected, honest.sessions, thief.connected) == (True, 1, True)


async def test_without_a_certificate_of_our_authority_nobody_connects(make_mosquitto, tmp_path_factory, certificates):
    mosquitto = make_mosquitto(GRANTS)
    other = type(certificates)(tmp_path_factory.mktemp("other"))
    certificate, key = other.issue(A)
    port = mosquitto.broker.port
    foreign = Endpoint(host="127.0.0.1", port=port, ca=certificates.ca, certificate=certificate, key=key)
    stranger = MqttBus(foreign, identity=A, random=Random(1), timeout_s=1)
    session = asyncio.create_task(stranger.run())
    await asyncio.sleep(1.5)
    assert (stranger.connected, stranger.sessions) == (False, 0)
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    anonymous = ssl.create_default_context(cafile=str(certificates.ca))
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises(OSError, match=r"(?i)certificate|reset"),
        anonymous.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.recv(1)  # with TLS 1.3 the refusal comes after the handshake


async def test_a_broker_of_another_authority_is_not_believed(make_mosquitto, tmp_path_factory, certificates):
    mosquitto = make_mosquitto(GRANTS)
    other = type(certificates)(tmp_path_factory.mktemp("other"))
    certificate, key = certificates.issue(A)
    port = mosquitto.broker.port
    trusting_other = Endpoint(host="127.0.0.1", port=port, ca=other.ca, certificate=certificate, key=key)
    device = MqttBus(trusting_other, identity=A, random=Random(1), timeout_s=1)
    session = asyncio.create_task(device.run())
    await asyncio.sleep(0.7)
    assert not device.connected
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)


def test_a_taken_port_is_said_plainly(make_mosquitto):
    mosquitto = make_mosquitto([])
    with pytest.raises(RefusedError, match="in use"):
        mosquitto.broker.start()


def test_a_broker_that_cannot_start_shows_its_log(tmp_path):
    missing = tmp_path / "missing"
    files = BrokerFiles(ca=missing, certificate=missing, key=missing, access=missing)
    broker = Broker(tmp_path, files, port=free_ports(1)[0], executable=find_mosquitto())
    with pytest.raises(FaultError, match="ended with status"):
        broker.start()
    broker.stop()
