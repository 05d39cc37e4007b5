"""What an agent takes of a device: seconds to its first inference, memory of its own process and of its model's.

A real agent's process on the disk of an enrolled device that has committed a release; its broker does not answer, as
after a power cut on a site without a link. The peer of each figure is the bar that it has to stay under.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge.operate.status_socket import NAME
from shared.bundle import Schema
from simulations.detector.labels import SCHEMA as DETECTOR
from simulations.packages import Data, fetch
from tests.benchmarks.figure import Figure, compare
from tests.committed import SCHEMA, Device
from tests.models import classifier

TURNS, SETTLED_S = 3, 8.0
"""Starts, of which the best counts; seconds after which memory is read."""

SENSOR = """
[[pipelines]]
name = "p"
model = "toy"
source = {{ kind = "replay", path = "{0}", rate = 50.0, loop = true }}
"""

VIDEO = """
[[pipelines]]
name = "p"
model = "toy"
source = {{ kind = "video", path = "{0}", fps = 10.0, loop = true }}
"""


def measure() -> Iterator[Figure]:
    """A sensor's agent and a camera's."""
    data = fetch(Path(".hinterland") / "data")
    with tempfile.TemporaryDirectory() as directory:
        yield from _measure_all(data, _installed(Path(directory)))


def _installed(directory: Path) -> str:
    """Python of an environment as a device has it: what develops and tests Hinterland brings more that is imported."""
    uv, python = str(Path(sys.executable).with_name("uv")), str(directory / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    wanted = ["--compile-bytecode", "--constraint", "requirements.lock", "--editable", ".[edge,edge-video]"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return python


def _measure_all(data: Data, python: str) -> Iterator[Figure]:
    seconds = min(_import_seconds(python) for _ in range(TURNS))
    yield _bar(
        "footprint.import", seconds, 0.4, "s", "import edge.main in a fresh interpreter, less the interpreter's own"
    )
    with tempfile.TemporaryDirectory() as directory:
        stream = Path(directory) / "stream.npz"
        np.savez(stream, x=np.zeros((50, *SCHEMA.input_shape), np.float32))
        yield from _measure("sensor", Path(directory), SENSOR.format(stream), classifier(), SCHEMA, python, bar_mb=90)
    with tempfile.TemporaryDirectory() as directory:
        model = data.detector_int8.read_bytes()
        yield from _measure(
            "video", Path(directory), VIDEO.format(data.vtest.resolve()), model, DETECTOR, python, bar_mb=170
        )


def _measure(
    kind: str, directory: Path, pipeline: str, model: bytes, schema: Schema, python: str, *, bar_mb: float
) -> Iterator[Figure]:
    device = asyncio.run(_device(directory, model, schema))
    device.add(pipeline)
    device.python = python
    started, agents, models = [], [], []
    for _ in range(TURNS):
        took, status = _start(device)
        started.append(took)
        by_role = {each["role"].split()[0]: each["rss_mib"] for each in status["processes"]}
        agents.append(by_role["agent"])
        models.append(by_role["model"])
    yield _bar(f"footprint.{kind}_start", min(started), 2.5, "s", "from the start of the process to the first answer")
    what = f"resident memory of the agent's own process; its model's takes {min(models):.0f} MiB beside it"
    yield _bar(f"footprint.{kind}_memory", min(agents), bar_mb * 1e6 / 2**20, "MiB", what)


def _start(device: Device) -> tuple[float, dict[str, Any]]:
    """Seconds to the first answer, and the status some seconds later."""
    began = time.perf_counter()
    with device.process():
        while not _answered(_status(device)):
            time.sleep(0.02)
        took = time.perf_counter() - began
        time.sleep(SETTLED_S)
        return took, _status(device)


def _status(device: Device) -> dict[str, Any]:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(10)
        asked.connect(str(device.state / NAME))
        return json.loads(asked.makefile().readline() or "{}")
    return {}


def _answered(status: dict[str, Any]) -> bool:
    return any(each["processed"] for each in status.get("pipelines", []))


def _import_seconds(python: str) -> float:
    empty, full = (_timed([python, "-c", code]) for code in ("pass", "import edge.main"))
    return full - empty


def _timed(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(arguments, check=True)
    return time.perf_counter() - began


async def _device(directory: Path, model: bytes, schema: Schema) -> Device:
    device = Device(directory / "device", _until)
    await device.commit(_running, model, schema=schema)
    return device


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


@asynccontextmanager
async def _running(*parts: Any) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for part in parts:
            task = asyncio.create_task(part.run())
            stack.callback(task.cancel)
        await _until(lambda: all(getattr(part, "connected", True) for part in parts))
        yield


def _bar(name: str, ours: float, bar: float, unit: str, what: str) -> Figure:
    return compare(name=name, ours=ours, peer=bar, unit=unit, better="lower", what_ours=what, what_peer="the bar")
