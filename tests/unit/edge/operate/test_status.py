"""The status of a running agent, on its socket and as `top` draws it."""

import asyncio
import os
import socket
import stat

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.facts.processes import taken
from edge.main import app
from edge.operate.status import (
    LinkStatus,
    ModelStatus,
    PipelineStatus,
    ProcessStatus,
    ServingStatus,
    Status,
    latency_of,
)
from edge.operate.status_socket import VIEWERS, StatusSocket, watch
from edge.operate.top import render
from shared.errors import FaultError
from tests.committed import Device

LINK = LinkStatus(connected=True, sessions=2, waiting={"telemetry": 3}, lost={"telemetry": 0})


def status(at=0.0, *, processed=0, cpu_s=0.0, **fields):
    pipeline = PipelineStatus(
        name="street", model="detector", state="running", release="detector-3", received=processed + 9,
        processed=processed, errors=2, dropped={"late": 4, "still": 0}, waiting=3, latency=latency_of([8.0, 9.0, 30.0]),
    )  # fmt: skip
    usual = {
        "pipelines": [pipeline],
        "models": [
            ModelStatus(model="detector", release="detector-3", variant="v", runtime="o", challenger="detector-4")
        ],
        "processes": [ProcessStatus(role="agent", pid=7, cpu_s=cpu_s, rss_mib=80.5)],
    }
    return Status(device="d", fleet="north", pid=7, at=at, monotonic=at, link=LINK, **usual | fields)


def test_quantiles():
    assert latency_of([]) is None
    found = latency_of(range(1, 101))
    assert (found.p50_ms, found.p99_ms) == (51, 100)
    assert latency_of([5.0]).p99_ms == 5.0


def test_rates_are_differences_over_time():
    lines = render(status(12.0, processed=150, cpu_s=1.5), status(10.0, processed=100, cpu_s=1.0))
    (row,) = [line for line in lines if line.startswith("street")]
    assert row.split() == [
        "street", "detector", "running", "detector-3", "detector-4", "25.0", "9.0", "30.0", "3", "2", "late:4",
    ]  # fmt: skip
    (process,) = [line for line in lines if line.startswith("agent")]
    assert process.split() == ["agent", "7", "25", "80.5"]


def test_without_an_earlier_one_or_after_a_restart_there_is_no_rate():
    for before in (None, status(13.0), msgspec.structs.replace(status(10.0), pid=8)):
        (row,) = [line for line in render(status(12.0), before) if line.startswith("street")]
        assert "detector-4  -" in row


def test_lines_fit_the_terminal_and_hold_no_controls():
    bad = PipelineStatus(name="\x1b[2J", model="m", state="failed", reason="x" * 300 + "\n")
    lines = render(status(pipelines=[bad]), None, width=40)
    assert max(map(len, lines)) <= 40
    assert all(line.isprintable() for line in lines)


def test_serving_is_a_line():
    serving = ServingStatus(ports=[8000, 0], at_work=1, refused=2, answered={"a": 9}, errors={"a": 1})
    (line,) = [line for line in render(status(serving=serving), None) if line.startswith("serving")]
    assert "8000, not listening" in line
    assert "9 inputs answered" in line


def test_what_a_process_takes(tmp_path):
    mine = taken(os.getpid())
    assert mine.rss_mib > 10
    assert mine.cpu_s > 0
    assert taken(2**22 + 1) is None
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "stat").write_text("5 (a) b) R 1 1 1 0 -1 0 0 0 0 0 150 50 0 0")
    (tmp_path / "5" / "status").write_text("Name:\ta\nVmRSS:\t  2048 kB\n")
    its = taken(5, proc=tmp_path)
    assert (its.rss_mib, its.cpu_s) == (2.0, 200 / os.sysconf("SC_CLK_TCK"))


async def opened(directory, gather=status, every_s=0.02):
    told = StatusSocket(directory, gather=gather, every_s=every_s)
    task = asyncio.create_task(told.run())
    while not (directory / "agent.sock").exists():
        await asyncio.sleep(0.005)
    return told, task


async def all_of(directory):
    """What comes until the other side ends it."""
    reader, writer = await asyncio.open_unix_connection(directory / "agent.sock")
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


async def ended(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_line_at_once_and_then_more(tmp_path):
    _, task = await opened(tmp_path)
    assert stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode) == 0o600

    def three():
        seen = watch(tmp_path)
        return [next(seen) for _ in range(3)]

    assert await asyncio.to_thread(three) == [status()] * 3
    await ended(task)
    assert not (tmp_path / "agent.sock").exists()
    with pytest.raises(FaultError, match="no agent answers"):
        next(watch(tmp_path))


async def test_a_socket_left_by_one_that_was_killed_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent.sock"))
    with pytest.raises(FaultError):
        next(watch(tmp_path))
    _, task = await opened(tmp_path)
    while True:
        try:
            assert await asyncio.to_thread(lambda: next(watch(tmp_path))) == status()
            break
        except FaultError:
            await asyncio.sleep(0.005)
    await ended(task)


async def test_more_viewers_than_places_and_a_defect_harm_nobody(tmp_path):
    _, task = await opened(tmp_path, every_s=60)
    held = [await asyncio.open_unix_connection(tmp_path / "agent.sock") for _ in range(VIEWERS)]
    for reader, _ in held:
        await reader.readline()
    assert await all_of(tmp_path) == b""
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    await ended(task)
    _, task = await opened(tmp_path, gather=lambda: 1 / 0)
    assert await all_of(tmp_path) == b""
    assert not task.done()
    await ended(task)


async def test_a_path_that_is_too_long_for_a_socket_stops_nobody(tmp_path, caplog):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    await StatusSocket(deep, gather=status).run()
    assert "no status socket" in caplog.text


async def test_a_whole_agent_tells_what_it_does(tmp_path, until, running):
    np.savez(tmp_path / "stream.npz", x=np.zeros((50, 3, 10), np.float32))
    device = Device(tmp_path, until)
    await device.commit(running)
    device.add(f"""
        [[pipelines]]
        name = "wrist"
        model = "toy"
        source = {{ kind = "replay", path = "{tmp_path}/stream.npz", rate = 500.0 }}
    """)
    agent, stop = device.agent(), asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    await until(lambda: agent.pipelines[0].state == "ended")
    said = await asyncio.to_thread(lambda: next(watch(device.state)))
    (wrist,) = said.pipelines
    assert (wrist.processed, wrist.received, wrist.waiting, wrist.release) == (50, 50, 0, "toy-1")
    assert wrist.latency.p99_ms > 0
    assert [each.role for each in said.processes] == ["agent", "model toy"]
    assert all(each.rss_mib > 1 for each in said.processes)
    assert said.desired == {"toy": "toy-1"}
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["top", "--once", "--config", str(device.config)])
    assert shown.exit_code == 0, shown.output
    assert "wrist" in shown.output
    words = ["top", "--once", "--json", "--config", str(device.config)]
    shown = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert msgspec.json.decode(shown.output, type=Status).pid == os.getpid()
    stop.set()
    await task
    shown = CliRunner().invoke(app, ["top", "--once", "--config", str(device.config)])
    assert shown.exit_code == 1
