"""The doctor asks a real broker, without ever taking the session of an agent that runs."""

import asyncio
import subprocess
import sys
from random import Random

import msgspec
import pytest

from cloud.devices.broker import Grant
from edge.identity.identity import store
from edge.operate.doctor import Finding
from edge.operate.status_socket import watch
from shared import topics
from shared.bus.mqtt import MqttBus
from shared.enrolment import EnrolAnswer
from shared.ids import device_id, fleet_id, tenant_id
from tests.committed import Device

pytestmark = pytest.mark.system

GRANT = Grant(device_id("device-a"), fleet_id("north"), tenant_id("acme"))


@pytest.fixture
def device(tmp_path, until, certificates, make_mosquitto):
    """A device of that broker's authority."""
    mosquitto = make_mosquitto([GRANT])
    device = Device(tmp_path / "device", until)
    directory = device.state / "identity"
    certificate, key = certificates.issue("device-a")
    answer = EnrolAnswer(
        device="device-a", fleet="north", tenant="acme", certificate=certificate.read_text(),
        authority=certificates.ca.read_text(), root=device.world.repository.root_bytes.decode(),
        broker_host="127.0.0.1", broker_port=mosquitto.endpoint("device-a").port,
    )  # fmt: skip
    (directory / "device.key").write_bytes(key.read_bytes())
    store(directory, answer, url="https://127.0.0.1:1")
    device.mosquitto = mosquitto
    return device


async def found(device):
    argv = [sys.executable, "-m", "edge.main", "doctor", "--json", "--config", str(device.config)]
    said = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
    findings = [msgspec.json.decode(line, type=Finding) for line in said.stdout.splitlines()]
    return {each.name: each for each in findings}


async def test_rights_are_proven_by_what_comes(device, running, until):
    name = topics.tuf_metadata(tenant_id("acme"), "timestamp.json")
    coordinator = MqttBus(device.mosquitto.endpoint("coordinator"), identity="coordinator", random=Random(1))
    async with running(coordinator):
        await coordinator.publish(name, b"{}", retain=True)
        findings = await found(device)
        assert findings["broker"].level == "ok", findings["broker"]
        assert findings["session"].level == "ok", findings["session"]
        device.mosquitto.allow([])
        await device.mosquitto.reload(coordinator)
        findings = await found(device)
        assert findings["broker"].level == "ok"
        assert "gives it no signed metadata" in findings["session"].text
        device.mosquitto.allow([GRANT])
        await device.mosquitto.reload(coordinator)
        with device.process():
            await until(lambda: connected(device))
            findings = await found(device)
            assert findings["session"].text == "the agent has its session, number 1"
            await until(lambda: connected(device))
            assert next(watch(device.state)).link.sessions == 1


def connected(device):
    try:
        return next(watch(device.state)).link.connected
    except Exception:
        return False
