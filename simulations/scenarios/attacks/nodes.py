"""Nodes of a federated run: honest trainers as processes of their own, and liars that answer with what they like."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloud.training.control import SuperLinkAddress
from edge.identity import Identity
from shared import federation as fed
from shared.codec import pack
from shared.errors import HinterlandError
from shared.task import Examples
from simulations.scenarios.attacks.ground import WATCHES, Ground
from simulations.scenarios.attacks.session import wait
from simulations.world.ports import LOOPBACK
from simulations.world.process import Process

if TYPE_CHECKING:
    from flwr.app import Message

    from edge.training.connection import FleetConnection

TASK = "activity"
HONEST = ("watch-1", "watch-2", "watch-3")
EXAMPLES, HELD_OUT = 120, 40

Lie = Callable[["Message"], Any]
"""The training message → the content of the reply (a `RecordDict`)."""


def examples(seed: int, count: int) -> Examples:
    """Windows whose class shows in the pace of a wave, the same on every device."""
    source = np.random.default_rng(seed)
    y = source.integers(0, 7, count)
    time_axis = np.arange(100) / 50
    wave = np.sin(2 * np.pi * (0.5 + y[:, None, None]) * time_axis + np.arange(6)[None, :, None])
    return Examples((wave + source.normal(0, 0.3, (count, 6, 100))).astype(np.float32), y)


class Trainer:
    """An enrolled device's own trainer, in a process of its own, with data of its own."""

    def __init__(self, ground: Ground, device: str, *, seed: int) -> None:
        self.device, self.identity = device, ground.enrol(device, fleet=WATCHES)
        home = ground.world.directory / device
        self.data = home / "data"
        write_split(self.data, seed)
        config = home / "agent.toml"
        config.write_text(
            f'[agent]\nstate = "{home}"\n[training]\nenabled = true\ndata = "{self.data}"\n[[pipelines]]\n'
            f'name = "wrist"\nmodel = "{TASK}"\nsource = {{ kind = "replay", path = "{home}/none.npz" }}\n'
        )
        argv = [sys.executable, "-m", "edge.main", "trainer", "--config", str(config)]
        self.process = Process(f"{device}-trainer", argv, logs=ground.world.logs, env={"OMP_NUM_THREADS": "1"})
        ground.world.agents[f"{device}-trainer"] = self.process

    @property
    def node(self) -> int:
        """Its id, once it listens."""
        return int((self.data / "node").read_text())

    def start(self) -> None:
        """Start listening."""
        self.process.start()

    def wait(self) -> None:
        """Wait until it listens."""
        wait((self.data / "node").exists, what=f"the trainer of {self.device}")


class Liar:
    """An enrolled device that tells the truth about everything but its training."""

    def __init__(self, ground: Ground, device: str, lie: Lie) -> None:
        self.device, self.identity = device, ground.enrol(device, fleet=WATCHES)
        self._lie = lie
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name=device, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """Fall silent."""
        self._stop.set()
        self._thread.join(10)

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                with connection(self.identity) as link:
                    self._serve(link)
            except HinterlandError:
                self._stop.wait(0.5)

    def _serve(self, link: FleetConnection) -> None:
        while not self._stop.is_set():
            message = link.receive()
            if message is None:
                self._stop.wait(0.5)
                continue
            link.reply(self._answer(message), seconds=0.1)

    def _answer(self, message: Message) -> Message:
        from flwr.app import ConfigRecord, Error, Message, RecordDict
        from flwr.common.constant import ErrorCode

        kind = message.metadata.message_type
        if kind == fed.MOMENTS:
            content = RecordDict({fed.CONFIG: ConfigRecord({fed.ANSWER: pack(_moments())})})
            return Message(content, reply_to=message)
        if kind == fed.TRAIN:
            return Message(self._lie(message), reply_to=message)
        return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="not today"), reply_to=message)


def connection(identity: Identity, key: Path | None = None) -> FleetConnection:
    """To the SuperLink, as a device; with a `key` of its own if it wants to be somebody else."""
    from edge.training.connection import FleetConnection

    return FleetConnection(identity.superlink, ca=identity.authority_file, key=key or identity.key_file)


def superlink(ground: Ground) -> SuperLinkAddress:
    """The SuperLink as the coordinator's own processes reach it, stolen token included."""
    layout = ground.world.layout
    return SuperLinkAddress(
        address=f"{LOOPBACK}:{ground.world.ports[2]}",
        ca=layout.ca,
        control_token=layout.control_token.read_text().strip(),
    )


def write_split(data: Path, seed: int) -> None:
    """A device's training part and hold-out."""
    place = data / TASK
    place.mkdir(parents=True)
    for name, part in (("train", examples(seed, EXAMPLES)), ("holdout", examples(seed + 100, HELD_OUT))):
        np.savez(place / f"{name}.npz", x=part.x, y=part.y)


def weights_of(message: Message) -> Any:
    """The global weights as they came, one flat array."""
    from shared.tasks.records import FLAT, read_arrays

    return read_arrays(message.content.get(fed.ARRAYS))[FLAT]


def update(arrays: Mapping[str, Any], examples: Any = EXAMPLES) -> Any:
    """A client update as the wire carries it."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    record = ArrayRecord({name: Array(np.ascontiguousarray(values)) for name, values in arrays.items()})
    return RecordDict({fed.ARRAYS: record, fed.METRICS: MetricRecord({fed.EXAMPLES: examples, fed.LOSS: 0.5})})


def _moments() -> fed.MomentsAnswer:
    from edge.training.client import moments_of

    return moments_of(examples(999, EXAMPLES), examples(1099, HELD_OUT))
