import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.pipelines.sources.sensors.feeds.registers import MOST, blocks, decode, make_client, width
from edge.settings import sensors as conf
from shared.errors import RefusedError
from simulations.world.ports import free_ports
from tests.sensors import schema_of, sensor, stall, take

CHANNELS = [
    {"name": "a", "register": 10, "type": "float32"},
    {"name": "b", "register": 12, "type": "int16", "scale": 0.1, "unit": "degC"},
    {"name": "c", "register": 300, "type": "int32", "words": "little"},
    {"name": "d", "register": 2, "table": "input", "type": "uint16"},
]


def _device() -> SimDevice:
    holding = [
        SimData(0, values=0, count=10, datatype=DataType.REGISTERS),
        SimData(10, values=1.5, datatype=DataType.FLOAT32),
        SimData(12, values=-215, datatype=DataType.INT16),
        SimData(13, values=0, count=287, datatype=DataType.REGISTERS),
        SimData(300, values=[0xFFFE, 0xFFFF], datatype=DataType.REGISTERS),  # −2, low word first
    ]
    read = [SimData(0, values=[0, 0, 65000], datatype=DataType.REGISTERS)]
    off = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
    return SimDevice(1, simdata=(off, off, holding, read))


class Heard:
    """Function codes of what a server is asked."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def __call__(self, sending: bool, message: ModbusPDU) -> ModbusPDU:
        if not sending:
            self.codes.append(message.function_code)
        return message


@asynccontextmanager
async def _tcp(port: int, heard: Heard) -> AsyncIterator[None]:
    server = ModbusTcpServer(_device(), address=("127.0.0.1", port), trace_pdu=heard)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()


def _settings(address: str, **more: Any) -> dict[str, Any]:
    return {"kind": "modbus", "address": address, "channels": CHANNELS, "every_s": 0.02, "timeout_s": 2.0, **more}


EXPECTED = [1.5, 273.15 - 21.5, -2, 65000]
SCHEMA = schema_of([4, 3], rate=20, units=["", "K", "", ""])


async def test_registers_become_windows_and_only_reads_are_asked() -> None:
    (port,) = free_ports(1)
    heard = Heard()
    async with _tcp(port, heard):
        source = sensor(_settings(f"tcp://127.0.0.1:{port}", window={"gap_s": 10.0}), SCHEMA)
        for sample in await take(source, 2):
            np.testing.assert_allclose(sample.x, np.tile(np.array(EXPECTED)[:, np.newaxis], 3), rtol=1e-6)
        await source.close()
    assert set(heard.codes) == {3, 4}


async def test_the_same_over_a_serial_line() -> None:
    end, other = pty.openpty()  # the device speaks at this end
    tty.setraw(other)
    tty.setraw(end)
    device, ours = pty.openpty()
    tty.setraw(ours)
    tty.setraw(device)
    loop = asyncio.get_running_loop()
    loop.add_reader(end, lambda: os.write(device, os.read(end, 1024)))
    loop.add_reader(device, lambda: os.write(end, os.read(device, 1024)))
    heard = Heard()
    server = ModbusSerialServer(_device(), port=os.ttyname(other), trace_pdu=heard)
    await server.serve_forever(background=True)
    source = sensor(_settings(f"rtu://{os.ttyname(ours)}", window={"gap_s": 10.0}), SCHEMA)
    (sample,) = await take(source, 1)
    np.testing.assert_allclose(sample.x, np.tile(np.array(EXPECTED)[:, np.newaxis], 3), rtol=1e-6)
    await source.close()
    await server.shutdown()
    loop.remove_reader(end)
    loop.remove_reader(device)
    for each in (end, other, device, ours):
        os.close(each)
    assert set(heard.codes) == {3, 4}


async def test_a_device_that_went_away_is_a_stall_and_is_found_again() -> None:
    (port,) = free_ports(1)
    source = sensor(_settings(f"tcp://127.0.0.1:{port}", window={"gap_s": 0.5}), SCHEMA)
    taking = asyncio.create_task(take(source, 2))
    await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    async with _tcp(port, Heard()):
        assert len(await taking) == 2
        await stall(source, lambda each: each.reason == "unreachable" and each.until > 0)
    await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    async with _tcp(port, Heard()):
        await stall(source, lambda each: each.reason == "unreachable" and each.until > 0)
    await source.close()


async def test_a_register_that_is_not_there_is_said() -> None:
    (port,) = free_ports(1)
    async with _tcp(port, Heard()):
        settings = _settings(f"tcp://127.0.0.1:{port}", channels=[{"name": "a", "register": 9000}])
        source = sensor(settings, schema_of([1, 4], rate=20))
        taking = asyncio.create_task(source.take(1))
        told = await stall(source, lambda each: each.reason == "unreachable")
        assert "holding registers 9000 to 9000" in told.text
        await source.close()
        assert await taking == []


async def test_the_client_that_an_agent_makes_cannot_write() -> None:
    (port,) = free_ports(1)
    heard = Heard()
    async with _tcp(port, heard):
        client = make_client(msgspec.convert(_settings(f"tcp://127.0.0.1:{port}"), conf.ModbusSource))
        await client.connect()
        writes = [
            lambda: client.write_register(10, 1),
            lambda: client.write_registers(10, [1, 2]),
            lambda: client.write_coil(1, True),
            lambda: client.mask_write_register(address=10, and_mask=0, or_mask=1),
        ]
        for write in writes:
            with pytest.raises(RefusedError):
                await write()
        client.close()
    assert heard.codes == []


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["int16", "float32", "float64"]), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_requests_cover_all_channels_within_the_protocols_bound(wanted: list[tuple[int, str, bool]]) -> None:
    channels = [
        conf.ModbusChannel(name="x", register=register, type=kind, table="input" if read else "holding")  # type: ignore[arg-type]
        for register, kind, read in wanted
    ]
    made = blocks(channels)
    assert sorted(index for each in made for index in each.channels) == list(range(len(channels)))
    for block in made:
        assert 0 < block.size <= MOST
        for index in block.channels:
            channel = channels[index]
            assert channel.table == block.table
            assert block.first <= channel.register
            assert channel.register + width(channel) <= block.first + block.size


@given(st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "float64"]), st.booleans(), st.data())
def test_what_is_encoded_is_decoded(kind: Any, little: bool, data: st.DataObject) -> None:
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        value = data.draw(st.floats(allow_nan=False, width=8 * dtype.itemsize))
    else:
        value = data.draw(st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)))
    registers = np.frombuffer(np.array([value], dtype.newbyteorder(">")).tobytes(), ">u2").tolist()
    channel = conf.ModbusChannel(name="x", register=0, type=kind, words="little" if little else "big")
    assert decode(registers[::-1] if little else registers, channel) == value
