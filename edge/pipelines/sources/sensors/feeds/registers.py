"""Registers of a Modbus device, over TCP or a serial line. Only the two functions that read registers leave here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge.pipelines.sources.sensors.port import Readings
from edge.settings import sensors as conf
from shared.clock import Clock
from shared.errors import FaultError, RefusedError, TransportError

READS = frozenset({3, 4})
"""Function codes: read holding registers, read input registers (Modbus Application Protocol 1.1b3, 6.3 and 6.4)."""

MOST = 125
"""Registers that one request may read; the same, 6.3."""

NEAR = 16
"""Registers between two channels that are read along: cheaper than a second request."""

_KINDS = {"int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4", "float32": ">f4", "float64": ">f8"}


class Block(NamedTuple):
    """Registers that one request reads."""

    table: str
    first: int
    size: int
    channels: tuple[int, ...]


def width(channel: conf.ModbusChannel) -> int:
    """How many registers a channel takes."""
    return np.dtype(_KINDS[channel.type]).itemsize // 2


def decode(registers: Sequence[int], channel: conf.ModbusChannel) -> float:
    """The value in a channel's registers.

    Written here, as pymodbus turns all registers round for `little`, not the words of each value (its issue 2675).
    """
    words = registers if channel.words == "big" else registers[::-1]
    return float(np.frombuffer(np.array(words, ">u2").tobytes(), _KINDS[channel.type])[0])


def blocks(channels: Sequence[conf.ModbusChannel]) -> list[Block]:
    """As few requests as read all channels."""
    found: list[Block] = []
    for index, each in sorted(enumerate(channels), key=lambda pair: (pair[1].table, pair[1].register)):
        end = each.register + width(each)
        if end > 1 << 16:
            raise RefusedError(f"channel {each.name} ends behind the last register")
        last = found[-1] if found else None
        if last and last.table == each.table:
            reach = last.first + last.size
            if each.register - reach <= NEAR and max(reach, end) - last.first <= MOST:
                found[-1] = Block(last.table, last.first, max(reach, end) - last.first, (*last.channels, index))
                continue
        found.append(Block(each.table, each.register, width(each), (index,)))
    return found


def only_reads(sending: bool, message: Any) -> Any:
    """Let pass what reads; pymodbus asks this before anything leaves.

    Raises:
        RefusedError: it would write.
    """
    if sending and message.function_code not in READS:
        raise RefusedError(f"Modbus function {message.function_code} is not one that reads registers")
    return message


class RegisterFeed:
    """Asks for all channels, every so often."""

    patient = False

    def __init__(
        self, settings: conf.ModbusSource, *, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Raises `RefusedError` for registers that there cannot be."""
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._blocks = blocks(settings.channels)

    async def session(self) -> AsyncGenerator[Readings, None]:
        client = make_client(self._settings)
        try:
            await self._connect(client)
            due = self._clock.monotonic()
            while True:
                row = np.full((1, len(self._settings.channels)), np.nan)
                for block in self._blocks:
                    registers = await self._read(client, block)
                    for index in block.channels:
                        channel = self._settings.channels[index]
                        start = channel.register - block.first
                        row[0, index] = decode(registers[start : start + width(channel)], channel)
                yield Readings(np.array([self._clock.now()]), row, tuple(range(row.shape[1])))
                due = max(due + self._settings.every_s, self._clock.monotonic())  # what was missed is not made up for
                await self._sleep(max(0.0, due - self._clock.monotonic()))
        finally:
            client.close()

    async def _connect(self, client: Any) -> None:
        from pymodbus.exceptions import ModbusException

        try:
            connected = await client.connect()
        except (ModbusException, OSError) as error:
            raise TransportError(f"{self._settings.address} does not answer: {error}") from error
        if not connected:
            raise TransportError(f"{self._settings.address} does not answer")

    async def _read(self, client: Any, block: Block) -> list[int]:
        from pymodbus.exceptions import ModbusException

        read = client.read_holding_registers if block.table == "holding" else client.read_input_registers
        where = f"{self._settings.address}, {block.table} registers {block.first} to {block.first + block.size - 1}"
        try:
            answer = await read(block.first, count=block.size, device_id=self._settings.device)
        except (ModbusException, OSError) as error:
            raise TransportError(f"{where}: {error}") from error
        if answer.isError() or len(answer.registers) != block.size:
            raise TransportError(f"{where}: the device refuses ({answer})")
        return list(answer.registers)


def make_client(settings: conf.ModbusSource) -> Any:
    """A client of pymodbus that cannot write.

    Raises:
        FaultError: the library is not there.
    """
    try:
        from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    except ImportError as error:
        raise FaultError("Modbus needs pymodbus", hint="pip install 'hinterland[edge-modbus]'") from error
    way, _, place = settings.address.partition("://")
    if way == "tcp":
        host, _, port = place.partition(":")
        return AsyncModbusTcpClient(
            host, port=int(port or 502), timeout=settings.timeout_s, retries=1, trace_pdu=only_reads
        )
    try:
        return AsyncModbusSerialClient(
            place,
            baudrate=settings.baud,
            parity=settings.parity,
            timeout=settings.timeout_s,
            retries=1,
            trace_pdu=only_reads,
        )
    except RuntimeError as error:
        raise FaultError(str(error), hint="pip install 'hinterland[edge-modbus]'") from error
