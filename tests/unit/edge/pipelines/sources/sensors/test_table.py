import asyncio
from pathlib import Path

import numpy as np
import pytest

from shared.errors import FaultError
from tests.sensors import everything, schema_of, sensor, take

CHANNELS = [{"name": "x", "unit": "mg"}, {"name": "y", "column": 2}]


def _file(tmp_path: Path, *, count: int = 100, head: str = "time,x,y") -> str:
    lines = [f"{1000 + index / 10},{index},{2 * index}" for index in range(count)]
    (tmp_path / "a.csv").write_text("\n".join([head, *lines, ""]))
    return str(tmp_path / "a.csv")


async def test_a_recording_is_played_as_fast_as_it_is_taken_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = {"kind": "csv", "path": _file(tmp_path, count=5000), "channels": CHANNELS, "speed": 0}
    source = sensor({**settings, "window": {"queue": 3}}, schema_of([2, 10], rate=10, units=["g", ""]))
    windows = await everything(source)
    np.testing.assert_allclose(windows[:, 0].ravel(), np.arange(5000) * 1e-3, atol=1e-3)
    np.testing.assert_allclose(windows[:, 1].ravel(), np.arange(5000) * 2, atol=1e-2)
    assert (source.received, dict(source.dropped)) == (500, {})
    await source.close()


async def test_a_recording_has_its_pace(tmp_path: Path) -> None:
    settings = {"kind": "csv", "path": _file(tmp_path, count=30), "channels": CHANNELS, "speed": 20.0}
    source = sensor(settings, schema_of([2, 10], rate=10))
    began = asyncio.get_running_loop().time()
    assert len(await everything(source)) == 3
    assert asyncio.get_running_loop().time() - began >= 2.9 / 20
    await source.close()


async def test_a_recording_that_loops_keeps_its_grid(tmp_path: Path) -> None:
    settings = {"kind": "csv", "path": _file(tmp_path, count=25), "channels": CHANNELS, "speed": 0, "loop": True}
    source = sensor(settings, schema_of([2, 10], rate=10))
    samples = await take(source, 10)
    expected = np.tile(np.arange(25), 4).reshape(10, 10)
    np.testing.assert_allclose([sample.x[0] for sample in samples], expected, atol=1e-2)
    assert [sample.id for sample in samples] == [f"s:{index}" for index in range(10)]
    await source.close()


async def test_dates_holes_and_words_are_understood(tmp_path: Path) -> None:
    lines = ["2026-01-01T00:00:00Z;1", "2026-01-01T00:00:01+00:00;", "2026-01-01 00:00:02;3", "2026-01-01T00:00:03;err"]
    (tmp_path / "b.csv").write_text("\n".join(["when;v", *lines, "never;4", "2026-01-01T00:00:04;5"]))
    settings = {"kind": "csv", "path": str(tmp_path / "b.csv"), "separator": ";", "time": "when", "speed": 0}
    source = sensor({**settings, "channels": [{"name": "v"}]}, schema_of([1, 5], rate=1))
    np.testing.assert_allclose((await everything(source)).ravel(), [1, 2, 3, 4, 5], rtol=1e-5)
    await source.close()


@pytest.mark.parametrize("head", ["t,x,y", "time,z,y"])
async def test_a_column_that_is_not_there_is_said(tmp_path: Path, head: str) -> None:
    settings = {"kind": "csv", "path": _file(tmp_path, head=head), "channels": CHANNELS}
    source = sensor(settings, schema_of([2, 10], rate=10))
    with pytest.raises(FaultError, match="has no column"):
        await take(source, 1)
    await source.close()


async def test_a_missing_file_is_said(tmp_path: Path) -> None:
    source = sensor({"kind": "csv", "path": str(tmp_path / "no"), "channels": CHANNELS}, schema_of([2, 4], rate=10))
    with pytest.raises(FaultError, match="no recording"):
        await take(source, 1)
    await source.close()


async def test_windows_wait_in_a_bounded_queue_and_what_is_too_old_goes(tmp_path: Path) -> None:
    settings = {"kind": "csv", "path": _file(tmp_path, count=1000), "channels": CHANNELS, "speed": 1e6}
    source = sensor({**settings, "window": {"queue": 4}}, schema_of([2, 10], rate=10))
    taken = await take(source, 1)
    while not source._ended:
        await asyncio.sleep(0.01)
    assert source.received == 100
    taken += await take(source, 1000)
    assert [sample.id for sample in taken[-3:]] == ["s:97", "s:98", "s:99"]
    assert len(taken) <= 5
    assert source.received == len(taken) + source.dropped["late"]
    await source.close()
