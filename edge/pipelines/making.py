"""From a device's settings to its pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import msgspec

from edge import settings as conf
from edge.drift.window import DriftSettings
from edge.drift.writer import ReferenceWriter
from edge.facts import Facts
from edge.inference.host import ModelHost
from edge.link.speaker import Speaker
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.scene.masks import FrameMask
from edge.pipelines.scene.policy import MaskKeeper
from edge.pipelines.scene.tracking import Tracker, TrackSettings
from edge.pipelines.sinks import Snapshot
from edge.pipelines.sources.making import make_source
from edge.pipelines.tasks.interpret import Interpreter
from edge.pipelines.tempo import Tempo, Thinning
from edge.training.dataset import DatasetStore
from shared.clock import Clock

SNAPSHOT_S = 5.0
"""Seconds between two pictures on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineMaker:
    """What all pipelines of a device share."""

    settings: conf.Settings
    host: ModelHost
    speaker: Speaker
    store: DatasetStore
    clock: Clock
    random: Random
    reference: ReferenceWriter
    facts: Facts
    masks: MaskKeeper

    def make(self, wanted: conf.Pipeline) -> Pipeline:
        """Make one pipeline."""
        reporting = self.settings.reporting
        hooks = self._hooks(wanted)
        mask = self.masks.guard(wanted.name, FrameMask(wanted.masks))
        return Pipeline(
            PipelineSettings(
                name=wanted.name,
                model=wanted.model,
                priority=wanted.priority,
                telemetry_s=reporting.telemetry_s,
                drift=DriftSettings(inputs=reporting.drift_inputs, rate=reporting.drift_rate),
                cores=self.settings.inference.threads,
            ),
            source=make_source(wanted, self.clock, random=self.random, mask=mask, last=hooks.thinning),
            host=self.host,
            emit=self.speaker,
            clock=self.clock,
            hooks=hooks,
        )

    def _hooks(self, wanted: conf.Pipeline) -> Hooks:
        thinning = make_thinning(wanted)
        pictures = [Snapshot(Path(wanted.snapshot), clock=self.clock, every_s=SNAPSHOT_S)] if wanted.snapshot else []
        interpret = Interpreter(threshold=wanted.threshold)
        stages = [Tracker(TrackSettings(**msgspec.structs.asdict(wanted.track)))] if wanted.track else []
        if not wanted.remember:
            return Hooks(
                interpret=interpret, stages=stages, sinks=pictures, thinning=thinning, temperature=self.facts.hottest_c
            )
        return Hooks(
            thinning=thinning,
            temperature=self.facts.hottest_c,
            interpret=interpret,
            stages=stages,
            sinks=pictures,
            remember=partial(self.store.remember, wanted.model),
            labels_held=partial(self.store.labels_held, wanted.model),
            on_release=partial(self.reference.request, wanted.name, wanted.model),
        )


def make_thinning(wanted: conf.Pipeline) -> Thinning | None:
    """What leaves frames out; None where there are none, and nobody is told then that fewer are worked on."""
    if isinstance(wanted.source, conf.ReplaySource | conf.Sensor):
        return None
    return Thinning(Tempo(target_ms=wanted.latency_ms) if wanted.latency_ms else None)
