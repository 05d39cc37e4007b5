"""Tells the coordinator, once per release, what the data behind it looked like on this device: as sketches."""

from __future__ import annotations

import asyncio
import logging

from edge.drift.reference import build_reference
from edge.inference.host import ModelHost
from edge.link.speaker import Speaker
from edge.settings import Settings
from edge.training.dataset import DatasetStore
from shared.clock import Clock
from shared.errors import HinterlandError
from shared.messages import DriftReport
from shared.topics import Up

log = logging.getLogger(__name__)


class ReferenceWriter:
    """Builds references apart from the pipelines; inference does not wait for it."""

    def __init__(
        self, *, host: ModelHost, store: DatasetStore, emit: Speaker, clock: Clock, settings: Settings
    ) -> None:
        self._host = host
        self._store = store
        self._emit = emit
        self._clock = clock
        self._enabled = settings.training.enabled
        self._wanted: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def request(self, pipeline: str, model: str, _release: str) -> None:
        """Ask for the reference of what now serves `model`; a device without training data has none."""
        if self._enabled:
            self._wanted.put_nowait((pipeline, model))

    async def run(self) -> None:
        """Write references until cancelled."""
        while True:
            pipeline, model = await self._wanted.get()
            try:
                report = await self._build(pipeline, model)
            except HinterlandError as error:
                log.warning("no drift reference for %s: %s", model, error)
                continue
            if report is not None:
                self._emit(Up.DRIFT, report)

    async def _build(self, pipeline: str, model: str) -> DriftReport | None:
        with self._host.lease(model) as served:
            if served is None:
                return None
            labels = self._store.labels_held(model)
            training, holdout = await asyncio.to_thread(self._store.training, model, labels)
            return await asyncio.to_thread(
                build_reference,
                served,
                pipeline=pipeline,
                training=training.x,
                holdout=holdout.x,
                at=self._clock.now(),
                labelled=labels,
            )
