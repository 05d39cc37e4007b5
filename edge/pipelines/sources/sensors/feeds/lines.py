"""Lines of numbers from a serial port. Nothing is ever written to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from edge.pipelines.sources.sensors.port import Readings
from edge.settings import sensors as conf
from shared.clock import Clock
from shared.errors import FaultError, TransportError

AT_ONCE = 64 << 10
"""Bytes read at once."""

LONGEST = 4096
"""Bytes of a line; a port that speaks at another speed gives no line ends at all."""


class LineFeed:
    """Reads a port as its lines come.

    Where lines carry no time, those that were read together are spread evenly over the time since the read before: they
    waited in the port's buffer.
    """

    patient = False

    def __init__(self, settings: conf.SerialSource, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def session(self) -> AsyncGenerator[Readings, None]:
        port = self._open()
        try:
            rest, before = b"", self._clock.now()
            whole = False  # the first line may have begun before we listened
            while True:
                data = await _read(port.fileno(), self._settings.port)
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > LONGEST:
                    rest, whole = b"", False
                if not whole and lines:
                    lines, whole = lines[1:], True
                now = self._clock.now()
                if lines:
                    yield self._readings(lines, since=before, until=now)
                    before = now
        finally:
            port.close()

    def _open(self) -> Any:
        try:
            import serial
        except ImportError as error:
            raise FaultError("a serial port needs pyserial", hint="pip install 'hinterland[edge-serial]'") from error
        try:
            return serial.Serial(self._settings.port, self._settings.baud, timeout=0)
        except (serial.SerialException, OSError, ValueError) as error:
            raise TransportError(f"port {self._settings.port} does not open: {error}") from error

    def _readings(self, lines: list[bytes], *, since: float, until: float) -> Readings:
        settings = self._settings
        fields = [line.decode("ascii", "replace").strip().split(settings.separator) for line in lines]
        values = np.array([[_number(each, channel.column) for channel in settings.channels] for each in fields])
        if settings.time is None:
            times = np.linspace(since, until, len(lines) + 1)[1:]
        else:
            times = np.array([_number(each, settings.time) for each in fields]) * settings.time_scale
        return Readings(times, values, tuple(range(len(settings.channels))))


def _number(fields: list[str], column: int) -> float:
    try:
        return float(fields[column])
    except (ValueError, IndexError):
        return np.nan


async def _read(descriptor: int, name: str) -> bytes:
    """What has come, once anything has."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    try:
        data = os.read(descriptor, AT_ONCE)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise TransportError(f"port {name} broke off: {error.strerror}") from error
    if not data:
        raise TransportError(f"port {name} was closed at its other end")
    return data
