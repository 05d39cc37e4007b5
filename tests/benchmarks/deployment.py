"""What a round costs besides the training: our job, SuperLink and resident trainers against Flower's stock processes.

Overhead of a round is its wall time without the slowest client's training and evaluation, which both sides time
within the client. Ours runs as deployed: TLS, node keys, doors, checkpoints and ledger durable. The stock side runs
without TLS and keeps its state in memory, which favours it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from cloud.models.line import LocalRecipe
from cloud.training.events import RoundFinished, RoundStarted
from cloud.training.ledger import RunLedger
from cloud.training.spec import RunSpec, write_spec
from simulations.world.ports import free_ports
from tests.benchmarks.figure import Figure, compare
from tests.benchmarks.stock_app import BATCH, EPOCHS, EXAMPLES, HELD_OUT, NODES, PLACE, RATE, TASK, examples
from tests.system.federation import Federation

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 400.0


def measure(*, rounds: int = 4) -> Iterator[Figure]:
    """Seconds of overhead a round, the median of `rounds` on either side, one side after the other."""
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as stock:
        mine, theirs = _ours(Path(ours), rounds), _stock(Path(stock), rounds)
    yield compare(
        name="deployment.overhead", ours=mine, peer=theirs, unit="s", better="lower",
        what_ours=f"a durable round of {NODES} resident trainers outside of training: TLS, node keys, checkpoint",
        what_peer="flower-superlink and flower-supernode 1.41 as they come, without TLS, state in memory",
    )  # fmt: skip


def _ours(place: Path, rounds: int) -> float:
    federation = _TimedFederation(place)
    os.environ[PLACE] = str(place)
    try:
        federation.start_superlink()
        members = [
            federation.enrol(f"node-{n}", TASK, examples(n, EXAMPLES), examples(n + 10, HELD_OUT)) for n in range(NODES)
        ]
        for member in members:
            federation.start_trainer(member.device)
        recipe = LocalRecipe(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE)
        spec = RunSpec(run="bench", task=TASK, members=members, seed=7, rounds=rounds, local=recipe, min_devices=NODES)
        write_spec(place / "bench", spec)
        if federation.start_job(place / "bench").wait(LIMIT_S) != 0:
            raise RuntimeError(federation.log_of("job"))
    finally:
        federation.stop()
        del os.environ[PLACE]
    events = RunLedger(place / "bench").events()
    marks = [next(event.at for event in events if isinstance(event, RoundStarted))]
    marks += [event.at for event in events if isinstance(event, RoundFinished)]
    return _overhead(place, marks)


class _TimedFederation(Federation):
    """Its trainers note how long training takes."""

    def _start(self, name: str, code: str) -> subprocess.Popen[bytes]:
        patch = "import edge.training.client as c; from tests.benchmarks.stock_app import Timed; c.adapter = Timed; "
        return super()._start(name, patch + code if name.startswith("node-") else code)


def _stock(place: Path, rounds: int) -> float:
    environment = os.environ | {
        "FLWR_HOME": str(place / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        PLACE: str(place),
    }
    port, *others = free_ports(1 + NODES)
    with (place / "stock.log").open("wb") as log:

        def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
            argv = [str(Path(sys.executable).with_name(script)), "--insecure", *arguments]
            return subprocess.Popen(argv, stdout=log, stderr=log, env=environment, cwd=place, start_new_session=True)

        started = [start("flower-superlink", "--port", str(port), "--disable-runtime-dependency-installation")]
        try:
            _submit(port, rounds)
            for n in range(NODES):
                address = ["--superlink", f"127.0.0.1:{port}", "--port", str(others[n])]
                started.append(start("flower-supernode", *address, "--node-config", f"number={n}"))
            _wait(place)
        finally:
            for process in started:
                _end(process)
    rows = _rows(place)
    marks = [next(row["at"] for row in rows if row["kind"] == "begin")]
    return _overhead(place, [*marks, *(row["at"] for row in rows if row["kind"] == "end")])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with all that it started, which is in sessions of its own."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _submit(port: int, rounds: int) -> None:
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab
    from flwr.supercore.control.control_http_client import ControlHttpClient

    deadline = time.monotonic() + 60
    while True:
        client = ControlHttpClient.from_server_address(f"127.0.0.1:{port}", True, None, [])
        try:
            client.StartRun(StartRunRequest(fab=Fab(content=_bundle(rounds))))
        except Exception:  # not up yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return
        finally:
            client.close()


def _bundle(rounds: int) -> bytes:
    from flwr.cli.build import build_fab_from_files

    project = (
        '[project]\nname = "stock"\nversion = "1.0.0"\ndescription = "peer"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "bench"\n'
        '[tool.flwr.app.components]\nserverapp = "stock_app:server"\nclientapp = "stock_app:client"\n'
        f"[tool.flwr.app.config]\nrounds = {rounds}\n"
    )
    app = Path(__file__).with_name("stock_app.py")
    return build_fab_from_files({"pyproject.toml": project.encode(), "stock_app.py": app})[0]


def _wait(place: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not any(row["kind"] == "over" for row in _rows(place)):
        if time.monotonic() > deadline:
            raise RuntimeError((place / "stock.log").read_text(errors="replace")[-4000:])
        time.sleep(0.5)


def _rows(place: Path) -> list[dict[str, float]]:
    path = place / "times.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _overhead(place: Path, marks: list[float]) -> float:
    """Median over the rounds between `marks`, Unix seconds."""
    found = []
    for begun, ended in pairwise(marks):
        slowest = 0.0
        for kind in ("train", "evaluate"):
            took = [row["seconds"] for row in _rows(place) if row["kind"] == kind and begun <= row["at"] <= ended]
            if len(took) != NODES:
                raise RuntimeError(f"{len(took)} clients instead of {NODES} did {kind} in a round")
            slowest += max(took)
        found.append(ended - begun - slowest)
    return statistics.median(found)
