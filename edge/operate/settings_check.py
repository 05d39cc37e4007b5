"""What is wrong with settings that are well formed: names given twice, files that are not there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge import settings as conf
from edge.identity import Identity
from edge.pipelines.sources.making import credentials_of
from edge.serving.service import check_serving
from edge.settings.reading import Fault
from shared.errors import RefusedError


def find_faults(settings: conf.Settings) -> list[Fault]:
    """Look at the disk, write nothing."""
    return [
        *_twice(settings),
        *_enrolment(settings),
        *_pipelines(settings),
        *_processors(settings),
        *_serving(settings),
    ]


def _twice(settings: conf.Settings) -> Iterator[Fault]:
    names = Counter(each.name for each in settings.pipelines)
    for name, count in names.items():
        if count > 1:
            yield Fault("pipelines", f"{count} are named {name!r}; telemetry and labels would mix them up")
        if not name.strip():
            yield Fault("pipelines", "one has an empty name")


def _enrolment(settings: conf.Settings) -> Iterator[Fault]:
    if Identity.exists(settings.state / "identity"):
        return
    token = settings.agent.token_file
    if not token:
        yield Fault("agent.token_file", "is needed, as this device is not enrolled yet")
    elif not Path(token).is_file():
        yield Fault("agent.token_file", f"{token} is not there, and this device is not enrolled yet")


def _pipelines(settings: conf.Settings) -> Iterator[Fault]:
    for index, each in enumerate(settings.pipelines):
        path = getattr(each.source, "path", "")
        if path and not Path(path).exists():
            yield Fault(f"pipelines[{index}].source.path", f"{path} is not there")
        if each.snapshot and not Path(each.snapshot).parent.is_dir():
            yield Fault(f"pipelines[{index}].snapshot", f"{Path(each.snapshot).parent} is no directory")
        if each.motion is not None and isinstance(each.source, conf.ReplaySource):
            yield Fault(f"pipelines[{index}].motion", "there are no pictures in a recording")
        if each.masks and isinstance(each.source, conf.ReplaySource | conf.Sensor):
            yield Fault(f"pipelines[{index}].masks", "there are no pictures in what a sensor gives")
        if each.latency_ms and isinstance(each.source, conf.ReplaySource | conf.Sensor):
            yield Fault(f"pipelines[{index}].latency_ms", "there are no frames that could be left out")
        if isinstance(each.source, conf.RtspSource):
            try:
                credentials_of(each.source, os.environ)
            except RefusedError as error:
                yield Fault(f"pipelines[{index}].source", f"{error}. {error.hint}".rstrip(". ") + ".")


def _processors(settings: conf.Settings) -> Iterator[Fault]:
    may = os.sched_getaffinity(0)
    if missing := sorted(set(settings.inference.cpus) - may):
        yield Fault("inference.cpus", f"{missing} are not there; an agent started as this one may use {sorted(may)}")
    elif settings.inference.cpus and settings.inference.isolation == "none":
        yield Fault("inference.cpus", 'binds models\' own processes, which `isolation = "none"` does without')


def _serving(settings: conf.Settings) -> Iterator[Fault]:
    serving = settings.serving
    try:
        check_serving(settings)
    except RefusedError as error:
        yield Fault("serving", f"{error}. {error.hint}")
    for field, path in (("certificate", serving.certificate), ("key", serving.key)):
        if path and not Path(path).is_file():
            yield Fault(f"serving.{field}", f"{path} is not there")
