import asyncio
import os
import pty
import select
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from tests.sensors import schema_of, sensor, stall, take


class Port:
    """A pseudo-terminal; what is written at its end comes out of the port."""

    def __init__(self) -> None:
        self.end, self._other = pty.openpty()
        tty.setraw(self._other)
        self.name = os.ttyname(self._other)

    def say(self, text: str) -> None:
        os.write(self.end, text.encode())

    def close(self) -> None:
        for each in (self.end, self._other):
            os.close(each)


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def _settings(port: Port, **more: object) -> dict[str, object]:
    channels = [{"name": "x", "column": 1}, {"name": "y", "column": 2}]
    return {"kind": "serial", "port": port.name, "channels": channels, **more}


async def _open(port: Port) -> None:
    """Wait until the port is read, a few turns of the loop; its first line counts for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)
    port.say("half a line\n")


async def test_lines_with_a_time_of_their_own_become_windows(port: Port) -> None:
    source = sensor(_settings(port, time=0, time_scale=0.001), schema_of([2, 5], rate=10))
    taking = asyncio.create_task(take(source, 2))
    await _open(port)
    for index in range(11):
        port.say(f"{index * 100},{index},")
        await asyncio.sleep(0.001)
        port.say(f"{-index}\r\n")
    samples = await taking
    np.testing.assert_allclose(np.concatenate([each.x for each in samples], axis=1)[0], np.arange(10), atol=1e-4)
    np.testing.assert_allclose(np.concatenate([each.x for each in samples], axis=1)[1], -np.arange(10), atol=1e-4)
    await source.close()


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


async def test_nothing_is_ever_written_to_the_port(port: Port) -> None:
    source = sensor(_settings(port, time=0), schema_of([2, 2], rate=1))
    taking = asyncio.create_task(take(source, 1))
    await _open(port)
    for index in range(3):
        port.say(f"{index},0,0\n")
    await taking
    await source.close()
    assert not _readable(port.end)


async def test_noise_is_counted_and_does_not_stop_anything(port: Port) -> None:
    source = sensor(_settings(port, time=0, window={"gap_s": 5.0}), schema_of([2, 4], rate=1))
    taking = asyncio.create_task(take(source, 1))
    await _open(port)
    port.say("0,0,0\n1,1,1\n\xff\xfe garbage\n" + "z" * 9000 + "\n,,\n2,2,2\n3,3,3\n4,4,4\n")
    (sample,) = await taking
    np.testing.assert_allclose(sample.x[0], [0, 1, 2, 3])
    await source.close()


async def test_lines_without_a_time_get_that_of_their_coming(port: Port) -> None:
    source = sensor(_settings(port, window={"gap_s": 30.0}), schema_of([2, 4], rate=200))
    taking = asyncio.create_task(take(source, 1))
    await _open(port)
    for index in range(2000):
        port.say(f"0,{index},0\n")
        await asyncio.sleep(0.002)
        if taking.done():
            break
    (sample,) = await taking
    assert (np.diff(sample.x[0]) >= 0).all()
    await source.close()


async def test_a_port_that_is_not_there_is_a_stall_and_is_tried_again(port: Port) -> None:
    source = sensor({**_settings(port), "port": "/dev/nobody"}, schema_of([2, 4], rate=200))
    taking = asyncio.create_task(source.take(1))
    told = await stall(source, lambda each: each.reason == "unreachable")
    assert "/dev/nobody" in told.text
    await source.close()
    assert await taking == []
