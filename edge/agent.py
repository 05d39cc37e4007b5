"""The agent: one asyncio process, every task named, none of which can stop inference."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edge.drift.writer import ReferenceWriter
from edge.facts import Facts
from edge.identity import Identity, Rotation
from edge.inference.host import ModelHost
from edge.link.outbox import CHANNELS, Outbox
from edge.link.retained import RetainedFiles
from edge.link.speaker import Speaker
from edge.link.uplink import Uplink
from edge.operate.sparing import Sparing
from edge.operate.status import gather
from edge.operate.status_socket import StatusSocket
from edge.operate.systemd import Notifier
from edge.operate.watchdog import Watchdog
from edge.pipelines.pipeline import Pipeline
from edge.relay.server import Relay
from edge.serving.service import Serving
from edge.settings import Settings
from edge.training.child import TrainerChild
from edge.training.dataset import DatasetStore
from edge.training.labels import Label, LabelInbox
from edge.update.reconcile import Reconciler
from edge.update.scrub import Scrub
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import HinterlandError

log = logging.getLogger(__name__)

LABELS_S = 0.5
"""Seconds between looks into the label inbox."""

DRAIN_S = 5.0
"""How long a stopping agent tries to have its last records acknowledged; what is left stays in the outbox."""

END_S = 10.0
"""How long what is in work may take to end; a model that hangs is ended with its process after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """All parts of one device, wired."""

    identity: Identity
    settings: Settings
    bus: Bus
    host: ModelHost
    outbox: Outbox
    uplink: Uplink
    speaker: Speaker
    files: RetainedFiles
    updates: Reconciler
    scrub: Scrub
    relay: Relay | None
    pipelines: list[Pipeline]
    sparing: Sparing
    serving: Serving | None
    store: DatasetStore
    labels: LabelInbox
    reference: ReferenceWriter
    trainer: TrainerChild | None
    rotation: Rotation
    facts: Facts
    clock: Clock
    notifier: Notifier

    async def run(self, stop: asyncio.Event) -> None:
        """Serve what is committed, follow what is desired, infer and report until `stop` is set; then drain."""
        await self.updates.resume()  # before the link: a device without one still infers
        async with asyncio.TaskGroup() as group:
            link = [
                group.create_task(self.bus.run(), name="bus"),
                group.create_task(self.uplink.run(), name="uplink"),
            ]
            work = [group.create_task(each, name=name) for name, each in self._work()]
            self.notifier.ready()
            await stop.wait()
            self.notifier.stopping()
            await _end(work)
            await self.host.close()
            await self._drain()
            await _end(link)
        self.outbox.close()

    async def label_once(self) -> int:
        """Take in the labels that have come; return how many there were."""
        labels = await asyncio.to_thread(self._keep_labels)
        for label in labels:
            for pipeline in self.pipelines:
                pipeline.label(label.id, label.y)
        return len(labels)

    def _keep_labels(self) -> list[Label]:
        labels = self.labels.read()
        for label in labels:
            self.store.label(label.task, label.id, label.y, train=label.train)
        return labels

    def _work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        work: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("speaker", self.speaker.run()),
            ("reference", self.reference.run()),
            ("labels", self._label_forever()),
            ("renewal", self.rotation.run()),
            ("scrub", self.scrub.run()),
            ("sparing", self.sparing.run()),
            ("watchdog", self._watchdog().run()),
            ("status", StatusSocket(self.settings.state, gather=lambda: gather(self)).run()),
            ("updates", self.updates.run(self.files, check_s=self.settings.update.check_s)),
        ]
        work += [(f"pipeline-{each.settings.name}", each.run()) for each in self.pipelines]
        if self.serving is not None:
            work.append(("serving", self.serving.run()))
        if self.relay is not None:
            work.append(("relay", self.relay.run()))
        if self.trainer is not None:
            work.append(("trainer", self.trainer.run()))
        return work

    def _watchdog(self) -> Watchdog:
        """Longest that an input may be in work: its model starts again, all others have their turn with it, then
        champion and challenger answer.
        """
        bounds = self.settings.inference
        limit_s = bounds.load_s + (3 + len(self.pipelines)) * bounds.answer_s
        return Watchdog(self.notifier, self.pipelines, clock=self.clock, limit_s=limit_s)

    async def _label_forever(self) -> None:
        while True:
            try:
                await self.label_once()
            except HinterlandError as error:
                log.warning("labels: %s", error)
            await asyncio.sleep(LABELS_S)

    async def _drain(self) -> None:
        """Give the last records a chance to be acknowledged, as long as there is somebody to do so."""
        with suppress(HinterlandError, TimeoutError):
            await self.speaker.flush()
            async with asyncio.timeout(DRAIN_S):
                while self.bus.connected and self._unacknowledged():  # noqa: ASYNC110 - a thread empties the outbox
                    await asyncio.sleep(0.05)

    def _unacknowledged(self) -> int:
        return sum(self.outbox.ledger(channel).pending for channel in CHANNELS)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel and wait, also for what is in work, as long as that is bearable; who stays is named and left behind."""
    for task in tasks:
        task.cancel()
    _, late = await asyncio.wait(tasks, timeout=END_S)
    if late:
        log.warning("still at work after %g s: %s", END_S, ", ".join(sorted(each.get_name() for each in late)))
