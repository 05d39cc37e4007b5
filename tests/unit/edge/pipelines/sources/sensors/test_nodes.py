import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
import pytest_asyncio
from asyncua import Server, ua

from edge.pipelines.sources.sensors.feeds.nodes import make_client
from edge.settings import sensors as conf
from shared.errors import RefusedError
from simulations.world.ports import free_ports
from tests.sensors import schema_of, sensor, stall, take

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Plant:
    """A real OPC UA server with two sensors and a setpoint."""

    def __init__(self, port: int, server: Server, nodes: list[Any]) -> None:
        self.port = port
        self._server = server
        self._nodes = nodes

    async def say(self, index: int, value: float, *, at: datetime.datetime) -> None:
        given = ua.DataValue(ua.Variant(value, ua.VariantType.Double), SourceTimestamp=at)
        await self._server.write_attribute_value(self._nodes[index].nodeid, given)

    async def setpoint(self) -> float:
        return float(await self._nodes[2].read_value())


@asynccontextmanager
async def _plant(port: int) -> AsyncIterator[Plant]:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace("test")
    nodes = [
        await server.nodes.objects.add_variable(ua.NodeId(name, space), name, 0.0)
        for name in ("Temperature", "Vibration", "Setpoint")
    ]
    await nodes[2].set_writable()
    async with server:
        yield Plant(port, server, nodes)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant() -> AsyncIterator[Plant]:
    (port,) = free_ports(1)
    async with _plant(port) as plant:  # takes seconds to read OPC UA's own nodes
        yield plant


def _settings(port: int, **more: Any) -> dict[str, Any]:
    channels = [{"name": "t", "node": "ns=2;s=Temperature", "unit": "degC"}, {"name": "v", "node": "ns=2;s=Vibration"}]
    url = f"opc.tcp://127.0.0.1:{port}/"
    quick = {"sampling_s": 0.02, "publishing_s": 0.05, "refresh_s": 60.0}
    return {"kind": "opcua", "url": url, "channels": channels, **quick, **more}


async def test_changes_come_with_the_time_of_their_source(plant: Plant) -> None:
    began = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    schema = schema_of([2, 5], rate=10, units=["K", ""])
    source = sensor(_settings(plant.port, window={"gap_s": 0.35, "late_s": 1e6}), schema)
    taking = asyncio.create_task(take(source, 2))
    index = 0
    while not taking.done():  # the subscription begins somewhere among these
        at = began + datetime.timedelta(seconds=index / 10)
        for node in (0, 1):
            await plant.say(node, float(index * (1 + node)), at=at)
        index += 1
        await asyncio.sleep(0.03)
    for sample in await taking:
        temperature, vibration = sample.x
        np.testing.assert_allclose(np.diff(temperature), 1, atol=0.01)
        np.testing.assert_allclose(vibration, 2 * (temperature - 273.15), atol=0.01)
    await source.close()


async def test_a_value_that_does_not_change_is_a_sample_all_the_same(plant: Plant) -> None:
    window = {"gap_s": 5.0, "resample": "previous"}
    source = sensor(_settings(plant.port, refresh_s=0.05, window=window), schema_of([2, 4], rate=10))
    (sample,) = await take(source, 1)
    assert (np.ptp(sample.x, axis=1) == 0).all()
    await source.close()


async def test_a_server_that_went_away_is_a_stall_and_is_found_again() -> None:
    (port,) = free_ports(1)
    source = sensor(_settings(port, refresh_s=0.1), schema_of([2, 4], rate=10))
    taking = asyncio.create_task(source.take(1))
    await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    for _ in range(2):
        async with _plant(port):
            await stall(source, lambda each: each.reason == "unreachable" and each.until > 0)
        await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    await source.close()
    await taking


async def test_a_node_that_is_not_there_is_no_sample(plant: Plant) -> None:
    channels = [{"name": "t", "node": "ns=2;s=Nothing"}]
    settings = _settings(plant.port, channels=channels, refresh_s=0.1, window={"silent_s": 0.5})
    source = sensor(settings, schema_of([1, 4], rate=10))
    taking = asyncio.create_task(source.take(1))
    await stall(source, lambda each: each.reason in {"silent", "unreachable"})
    await source.close()
    await taking


async def test_the_client_that_an_agent_makes_cannot_write(plant: Plant) -> None:
    client, _ = await make_client(msgspec.convert(_settings(plant.port), conf.OpcuaSource))
    await client.connect()
    node = client.get_node("ns=2;s=Setpoint")
    with pytest.raises(RefusedError):
        await node.write_value(7.0)
    with pytest.raises(RefusedError):
        await client.write_values([node], [7.0])
    with pytest.raises(RefusedError):
        await client.nodes.objects.call_method(ua.NodeId(11492, 0))
    with pytest.raises(RefusedError):
        await client.nodes.objects.add_variable(2, "mine", 1.0)
    assert await plant.setpoint() == 0
    await client.disconnect()
