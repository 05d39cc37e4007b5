from pathlib import Path

import numpy as np
import pytest

from edge.pipelines.sources.replay import PATIENCE, Recording, ReplaySource
from shared.clock import VirtualClock
from shared.errors import FaultError


def _recording(count: int) -> Recording:
    x = np.arange(count, dtype=np.float32).reshape(count, 1, 1)
    return Recording(x, tuple("calm" if i < count / 2 else "shifted" for i in range(count)))


class Replay:
    """A source whose sleep turns the clock."""

    def __init__(self, count: int, *, rate: float, loop: bool = False, start: int = 0) -> None:
        self.clock = VirtualClock()
        self.source = ReplaySource(
            _recording(count), stream="s", rate=rate, clock=self.clock, loop=loop, start=start, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def all(self, *, limit: int = 16, most: int = 100) -> list[str]:
        ids: list[str] = []
        while len(ids) < most and (samples := await self.source.take(limit)):
            ids += [sample.id for sample in samples]
        return ids


async def test_windows_come_at_their_rate_and_carry_their_phase() -> None:
    replay = Replay(4, rate=10)
    times, phases = [], []
    while samples := await replay.source.take(16):
        (sample,) = samples
        times.append(round(replay.clock.ticks, 6))
        phases.append(sample.phase)
        assert sample.ready == pytest.approx(replay.clock.ticks)
        assert sample.at == pytest.approx(replay.clock.at)
    assert times == [0, 0.1, 0.2, 0.3]
    assert phases == ["calm", "calm", "shifted", "shifted"]


async def test_what_is_late_comes_at_once_and_nothing_is_skipped() -> None:
    replay = Replay(30, rate=10)
    await replay.source.take(16)
    replay.clock.advance(1.0)
    samples = await replay.source.take(4)
    assert [sample.id for sample in samples] == ["s:1", "s:2", "s:3", "s:4"]
    assert [round(replay.clock.ticks - sample.ready, 6) for sample in samples] == [0.9, 0.8, 0.7, 0.6]
    assert [round(replay.clock.at - sample.at, 6) for sample in samples] == [0.9, 0.8, 0.7, 0.6]
    assert len(await replay.source.take(16)) == 6
    assert await replay.all() == [f"s:{i}" for i in range(11, 30)]


async def test_a_long_pause_is_not_caught_up_in_a_burst() -> None:
    replay = Replay(1000, rate=10)
    await replay.source.take(16)
    replay.clock.advance(PATIENCE + 10)
    assert [sample.id for sample in await replay.source.take(16)] == ["s:1"]
    assert [sample.id for sample in await replay.source.take(16)] == ["s:2"]


async def test_it_ends_or_loops_with_growing_ids() -> None:
    assert await Replay(3, rate=10).all() == ["s:0", "s:1", "s:2"]
    assert (await Replay(3, rate=10, loop=True).all(most=7))[:7] == [f"s:{i}" for i in range(7)]


async def test_it_starts_where_it_is_told() -> None:
    assert await Replay(5, rate=10, start=3).all() == ["s:3", "s:4"]


async def test_a_closed_replay_ends() -> None:
    replay = Replay(5, rate=10)
    await replay.source.take(1)
    await replay.source.close()
    assert await replay.all() == []


def test_a_recording_is_read_with_its_phases(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 6, 4)), phase=np.array([0, 1]))
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 6, 4)), phase=np.array(["calm", "shifted"]))
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 6, 4)))
    phases = [Recording.from_npz(tmp_path / f"{name}.npz").phases for name in "abc"]
    assert phases == [("0", "1"), ("calm", "shifted"), ("", "")]


@pytest.mark.parametrize(
    "arrays",
    [
        {"y": np.zeros(3)},
        {"x": np.zeros((0, 2, 2))},
        {"x": np.zeros((2, 2, 2)), "phase": np.zeros(3)},
        {"x": np.array([{"a": 1}], dtype=object)},
    ],
)
def test_what_is_no_recording_is_a_fault(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(FaultError):
        Recording.from_npz(tmp_path / "bad.npz")


def test_a_missing_or_broken_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("text.npz", "missing.npz"):
        with pytest.raises(FaultError):
            Recording.from_npz(tmp_path / name)
