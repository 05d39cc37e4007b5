"""Several agents in one process: each is whole and has its own identity, its own session and its own models' processes.

Forty agents of their own processes would need four gigabytes before the first model is loaded, most of it the same
interpreter again. Beside each agent sits the person who labels what its camera saw, some seconds later.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edge import settings as conf
from edge.agent import Agent
from edge.identity import Identity, enrol
from edge.wiring import RUNTIMES, build
from simulations.scenarios.cast import Stream
from simulations.scenarios.operator import Labeller
from simulations.scenarios.rollout.cast import PHASE, TASK

LOOK_S = 1.0
"""Seconds between two looks of the person who labels."""

THREADS = 48
"""Agents wait for disks and for models to load in threads; they should not wait for each other."""


async def serve(configs: list[Path]) -> None:
    """Enrol and run one agent for each settings file until a signal comes; then all drain."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        for config in configs:
            group.create_task(_run(config, stop), name=config.parent.name)


async def _run(config: Path, stop: asyncio.Event) -> None:
    settings = conf.read(config)
    identity = await asyncio.to_thread(_identity, settings)
    agent = build(settings, identity, config=config)
    labelling = asyncio.create_task(_label_forever(agent, settings), name=f"labels of {identity.device}")
    try:
        await agent.run(stop)
    finally:
        labelling.cancel()


def _identity(settings: conf.Settings) -> Identity:
    directory = settings.state / "identity"
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if Identity.exists(directory):
        return Identity.load(directory)
    token = Path(settings.agent.token_file).read_text().strip()
    return enrol(directory, token=token, hardware=settings.agent.hardware, runtimes=[str(each) for each in RUNTIMES])


async def _label_forever(agent: Agent, settings: conf.Settings) -> None:
    (pipeline,) = agent.pipelines
    (wanted,) = settings.pipelines
    if not isinstance(wanted.source, conf.ReplaySource):
        raise TypeError(f"labels are known for recordings only, not for {wanted.source}")
    labeller = Labeller(
        stream=await asyncio.to_thread(_stream, Path(wanted.source.path)),
        pipeline=wanted.name,
        task=TASK,
        inbox=settings.state / "labels",
    )
    while True:
        at = time.time()
        labeller.observe(sum(each.processed + each.errors for each in pipeline.health.values()), at=at)
        await asyncio.to_thread(labeller.label_once, at=at)
        await asyncio.sleep(LOOK_S)


def _stream(path: Path) -> Stream:
    with np.load(path, allow_pickle=False) as file:
        labels = file["y"]
    return Stream(path=path, labels=labels, phases=(PHASE,), loop=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve([Path(each) for each in sys.argv[1:]]))
