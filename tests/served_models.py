"""A desk on loopback with models that are Python functions, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from edge.inference.host import ModelHost
from edge.inference.memory_runtime import MemorySession
from edge.relay.address import Address
from edge.serving.desk import Desk, Terms
from edge.serving.gate import Gate
from edge.serving.http import Manners
from edge.serving.server import HttpServer
from edge.serving.service import Serving
from edge.serving.tokens import Tokens
from shared.bundle import Schema
from shared.clock import SystemClock
from shared.errors import FaultError
from shared.messages import DriftReport, Telemetry
from tests.models import SHAPE, place

DETECTION = Schema(kind="detection", labels=["car", "dog"], input_shape=[3, 8, 8])


class Models:
    """Sessions whose logits are (mean, -mean) plus the first byte of their model; all of it can be changed by tests."""

    def __init__(self) -> None:
        self.before: Callable[[], Any] = int
        self.batches: list[int] = []

    def load(self, data: bytes) -> MemorySession:
        if data.startswith(b"d"):
            return MemorySession(self._detect, input_shape=DETECTION.input_shape)

        def classify(batch: Any) -> list[Any]:
            self._met(batch)
            with np.errstate(over="ignore"):
                mean = batch.mean(axis=(1, 2))
            return [np.stack([mean + data[0], -mean], axis=1).astype(np.float32)]

        return MemorySession(classify, input_shape=SHAPE)

    def _met(self, batch: Any) -> None:
        self.batches.append(len(batch))
        self.before()

    def _detect(self, batch: Any) -> list[Any]:
        self._met(batch)
        boxes = np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), (len(batch), 4, 1))
        scores = np.zeros((len(batch), 4, 2), np.float32)
        scores[:, 0, 1] = 0.9
        return [boxes, scores]

    def fail(self) -> None:
        raise FaultError("the model's process ended")


class Site:
    """Everything that serves, in one loop."""

    def __init__(self, directory: Path, **terms: Any) -> None:
        self.directory = directory
        self.models = Models()
        self.host = ModelHost(self.models.load)
        self.said: list[Telemetry | DriftReport] = []
        self.pipelines_run = False
        self.tokens: Tokens | None = None
        self.terms = Terms(**terms)
        self.desk = Desk(
            self.host,
            self.terms,
            emit=lambda _channel, message: self.said.append(message),
            clock=SystemClock(),
            pipelines_run=lambda: self.pipelines_run,
        )

    async def serve(self, counter: int = 1, *, data: bytes = b"\0", schema: Schema | None = None) -> None:
        """Activate a release."""
        await self.host.activate("toy", *place(self.directory, data, counter=counter, schema=schema))

    @asynccontextmanager
    async def open(self, *, most: int = 8, body_bytes: int = 1 << 20) -> AsyncIterator[httpx.AsyncClient]:
        """Its HTTP side on loopback, and a client."""
        gate = Gate(most=most)
        server = HttpServer(
            self.desk,
            listen=Address("127.0.0.1", 0),
            gate=gate,
            tokens=self.tokens,
            context=lambda: None,
            manners=Manners(body_bytes=body_bytes),
        )
        self.serving = Serving(self.desk, [server], gate)
        task = asyncio.create_task(self.serving.run())
        while not server.port:
            await asyncio.sleep(0.005)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
                yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def request(values: Any, **beside: Any) -> dict[str, Any]:
    """An inference request in JSON."""
    values = np.asarray(values, np.float32)
    tensor = {"name": "x", "shape": list(values.shape), "datatype": "FP32", "data": values.ravel().tolist()}
    return {"inputs": [tensor], **beside}


def windows(count: int, value: float = 1.0) -> Any:
    return np.full((count, *SHAPE), value, np.float32)
