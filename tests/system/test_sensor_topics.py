"""Topics of a site's own mosquitto as a sensor."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import pytest

from simulations.broker import find_mosquitto
from simulations.world.ports import free_ports
from tests.sensors import PATIENCE_S, schema_of, sensor, stall, take

pytestmark = pytest.mark.system


@asynccontextmanager
async def _broker(directory: Path, port: int) -> AsyncIterator[None]:
    (directory / "passwords").write_text("")
    config = directory / "site.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(
        str(find_mosquitto()), "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        yield
    finally:
        process.terminate()
        await process.wait()


def _settings(port: int, **more: Any) -> dict[str, Any]:
    channels = [
        {"name": "x", "topic": "press/imu", "path": "acc.x", "unit": "mg"},
        {"name": "t", "topic": "press/temp"},
    ]
    return {"kind": "mqtt", "host": "127.0.0.1", "port": port, "channels": channels, **more}


@asynccontextmanager
async def _talk(port: int) -> AsyncIterator[None]:
    """One sample each of both topics, again and again."""
    enough = asyncio.Event()
    talking = asyncio.create_task(_publish(port, enough))
    try:
        yield
    finally:
        enough.set()
        await talking


async def _publish(port: int, enough: asyncio.Event) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish("press/temp", b"-1", retain=True)  # of yesterday: no sample
        for index in itertools.count():
            if enough.is_set():
                return
            await client.publish("press/imu", f'{{"acc": {{"x": {1000 * index}}}}}'.encode())
            await client.publish("press/other", b"99")
            await client.publish("press/temp", str(index).encode())
            await asyncio.sleep(0.005)


async def test_two_topics_become_one_window(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with _broker(tmp_path, port):
        schema = schema_of([2, 20], rate=50, units=["g", ""])
        source = sensor(_settings(port, window={"gap_s": 5.0, "late_s": 10.0}), schema)
        taking = asyncio.create_task(take(source, 3))
        async with _talk(port):
            samples = await taking
        for sample in samples:
            assert (np.diff(sample.x) >= 0).all()
            assert np.abs(sample.x[0] - sample.x[1]).max() < 60  # of one moment, as nearly as two messages can be
        assert source.windows is not None
        assert source.windows.lost.total() == 0
        await source.close()


async def test_a_broker_that_went_away_is_a_stall_and_is_found_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    source = sensor(_settings(port, window={"gap_s": 5.0, "silent_s": 1.0}), schema_of([2, 20], rate=50))
    taking = asyncio.create_task(source.take(1))
    await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    for _ in range(2):
        async with _broker(tmp_path, port):
            async with _talk(port):
                await stall(source, lambda each: each.reason == "unreachable" and each.until > 0)
            silent = await stall(source, lambda each: each.reason == "silent" and not each.until)
            assert "no sample for 1 s" in silent.text
        await stall(source, lambda each: each.reason == "unreachable" and not each.until)
    await source.close()
    await taking
