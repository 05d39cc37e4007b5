"""The same film and the same model through Roboflow's `inference` and `supervision`.

They are no dependency of ours. `PEER_PYTHON=/path/to/python python -m tests.benchmarks.run video_peers` measures them
in an environment where `pip install inference` and then `pip install --no-deps onnxruntime==1.32.0`, our version of it,
have run. Equal are the film, the model's file, ONNX Runtime and its one thread, threshold, suppression, and that every
frame is answered in order; each decodes as it does by itself. Time counts from the first answer to the last: imports do
not. Ours does more: a process without rights for the model, telemetry, drift sketches.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.inference.process import Isolation
from edge.link.outbox import Outbox
from edge.link.speaker import Speaker
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.sources.port import Sample
from edge.pipelines.sources.video import VideoSettings, video_source
from edge.pipelines.tasks.interpret import Interpreter
from shared.clock import SystemClock
from simulations.detector.labels import SCHEMA
from simulations.packages import Data, fetch
from tests.benchmarks.figure import Figure, compare
from tests.models import place

TURNS = 3
PEERS = ("inference", "supervision")
SCRIPT = Path(__file__).with_name("film_by_roboflow.py")


class Answers:
    """A sink that notes when each came, and with how many objects."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.objects: list[int] = []

    def put(self, sample: Sample, result: Result) -> None:
        self.at.append(SystemClock().monotonic())
        self.objects.append(len(result.answer.detections))


def measure() -> Iterator[Figure]:
    """Frames per second of each; nothing where no peer is installed."""
    python = os.environ.get("PEER_PYTHON")
    if not python:
        sys.stderr.write("video_peers: not measured, PEER_PYTHON names no interpreter that has them\n")
        return
    data = fetch(Path(".hinterland") / "data")
    ours: list[Answers] = []
    theirs: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    for _ in range(TURNS):
        ours.append(asyncio.run(_ours(data)))
        for name in PEERS:
            theirs[name].append(_theirs(python, name, data))
    best = max((len(each.at) - 1) / (each.at[-1] - each.at[0]) for each in ours)
    for name, runs in theirs.items():
        versions = " ".join(f"{each} {version}" for each, version in runs[0]["versions"].items())
        fps = max((len(run["objects"]) - 1) / run["seconds"] for run in runs)
        found = (sum(ours[0].objects), sum(runs[0]["objects"]))
        yield compare(
            name=f"pipeline.{name}", ours=best, peer=fps, unit="frames/s", better="higher",
            what_ours=f"film to detections, one thread in the model; {len(ours[0].at)} frames, {found[0]} objects",
            what_peer=f"{versions}; {len(runs[0]['objects'])} frames, {found[1]} objects",
        )  # fmt: skip


async def _ours(data: Data) -> Answers:
    clock, random, sink = SystemClock(), Random(1), Answers()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        host = ModelHost(IsolatedSession.loader(Isolation(), clock=clock, random=random))
        await host.activate(
            "detector", *place(directory, data.detector_int8.read_bytes(), model="detector", schema=SCHEMA)
        )
        outbox = Outbox.open(directory / "outbox", cap=64 << 20, clock=clock, random=random)
        speaker = Speaker(outbox)
        pipeline = Pipeline(
            PipelineSettings(name="street", model="detector"),
            source=video_source(VideoSettings(path=data.vtest), stream="street", clock=clock),
            host=host,
            emit=speaker,
            clock=clock,
            hooks=Hooks(interpret=Interpreter(threshold=0.5), sinks=[sink]),
        )
        speaking = asyncio.create_task(speaker.run())
        await pipeline.run()
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        await host.close()
        outbox.close()
    return sink


def _theirs(python: str, name: str, data: Data) -> dict[str, Any]:
    command = [python, str(SCRIPT), name, str(data.detector_int8), str(data.vtest)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return dict(json.loads(done.stdout.splitlines()[-1]))
