"""What a tracker is told of each run: its terms, its rounds, what came of it; each once, however often we are killed.

A run is found again at the tracker by its tag, so that nobody who was killed between two writes begins it twice. What
was told is noted afterwards, and telling it again changes nothing. The sink has a task of its own: while the tracker is
away no round, and no other step of the coordinator, waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud.store.database import Database
from cloud.store.jobs import CentralJobs
from cloud.store.releases import Releases
from cloud.store.runs import OPEN, Round, Run, Runs, RunState
from cloud.store.tracked import Tracked, TrackedRun
from cloud.tracking.mlflow import Metric, MlflowServer
from cloud.tracking.settings import TrackingSettings
from shared.errors import HinterlandError, RefusedError

log = logging.getLogger(__name__)

TAG = "hinterland.run"
HIDDEN = ("members", "start", "champion", "privacy.spent")
"""Fields of a specification that are no terms, or name devices or paths."""


@dataclass(slots=True, kw_only=True)
class MlflowSink:
    """Tells runs to one MLflow server."""

    database: Database
    server: MlflowServer
    tenant: str
    experiment: str
    url: str
    """Of the coordinator's API, which links begin with."""

    leads: Callable[[], bool] = lambda: True
    """Of several coordinators one tells."""

    every_s: float = 5.0
    health: str = "ok"
    _experiment: str = field(default="")

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            if self.leads():
                await asyncio.to_thread(self.turn_safely)
            await asyncio.sleep(self.every_s)

    def turn_safely(self) -> None:
        """A turn whose failure is only noted; the next one tries again."""
        try:
            self.turn()
        except HinterlandError as error:
            said = f"{error} {error.hint}".strip()
            if said != self.health:  # once, not every turn
                log.warning("runs are not told to MLflow: %s", said)
            self.health = said
        else:
            self.health = "ok"

    def turn(self) -> None:
        """Tell what is new of every run.

        Raises:
            HinterlandError: the tracker is away or refuses, or the database is away.
        """
        with self.database.read() as connection:
            told = Tracked(connection).all()
            runs = [run for run in Runs(connection).all() if not _is_told(run, told.get(run.id))]
        for run in runs:
            with self.database.read() as connection:
                rounds = [row for row in Runs(connection).rounds(run.id) if row.digest]
            self._tell(run, rounds, told.get(run.id))

    def _tell(self, run: Run, rounds: list[Round], before: TrackedRun | None) -> None:
        fresh = [row for row in rounds if before is None or row.number > before.rounds]
        if before is not None and not fresh and before.state == run.state.value:
            return
        remote = before.remote if before is not None else self._begin(run)
        self.server.log(remote, metrics=[metric for row in fresh for metric in _metrics(row)])
        self.server.log(remote, tags={"hinterland.state": run.state.value} | self._outcome(run, rounds))
        if run.state not in OPEN:
            status = "FAILED" if run.state is RunState.FAILED else "FINISHED"
            self.server.end_run(remote, status=status, at=run.finished_at or run.created_at)
        with self.database.write() as connection:
            number = rounds[-1].number if rounds else 0
            Tracked(connection).put(TrackedRun(run=run.id, remote=remote, rounds=number, state=run.state.value))

    def _begin(self, run: Run) -> str:
        """Find the run at the tracker, or begin it there."""
        if not self._experiment:
            self._experiment = self.server.experiment(self.experiment)
        name = f"{self.tenant}/{run.id}"
        remote = self.server.find_run(self._experiment, tag=TAG, value=name)
        if not remote:
            tags = {TAG: name, "hinterland.model": run.model, "hinterland.cause": run.cause}
            tags["hinterland.link"] = f"{self.url}/v1/runs/{run.id}"
            if run.reason:
                tags["mlflow.note.content"] = run.reason
            remote = self.server.create_run(self._experiment, name=run.id, at=run.created_at, tags=tags)
        self.server.log(remote, parameters=parameters(run.spec))
        return remote

    def _outcome(self, run: Run, rounds: list[Round]) -> dict[str, str]:
        """The model by its digest, and where it is."""
        told = {"hinterland.weights": rounds[-1].digest} if rounds else {}
        with self.database.read() as connection:
            release = Releases(connection).find(run.release) if run.release else None
            jobs = CentralJobs(connection).all(subject=run.id)
        for job in jobs:
            if job.kind == "warm-start" and job.result:
                told["hinterland.first_weights"] = f"{job.order['data']} {job.result['digest']}"
        if release is not None:
            told |= {"hinterland.release": release.id, "hinterland.manifest": release.digest}
            told["hinterland.artefact"] = f"{self.url}/v1/releases/{release.id}"
            told |= {f"hinterland.file.{v.name}": v.digest for v in release.document().variants}
        return told


def open_sink(
    settings: TrackingSettings, *, database: Database, tenant: str, url: str, leads: Callable[[], bool]
) -> MlflowSink | None:
    """The sink that `settings` describe; None where runs are told to nobody.

    Raises:
        RefusedError: its token or its certificates cannot be read.
    """
    if not settings.mlflow_url:
        return None
    try:
        token = Path(settings.token_file).read_text().strip() if settings.token_file else ""
    except OSError as error:
        raise RefusedError(f"no token in {settings.token_file}: {error}", hint="Correct [tracking].") from error
    ca = Path(settings.ca_file) if settings.ca_file else None
    return MlflowSink(
        database=database,
        server=MlflowServer(settings.mlflow_url, token=token, ca=ca, deadline_s=settings.deadline_s),
        tenant=tenant,
        experiment=settings.experiment,
        url=url,
        leads=leads,
        every_s=settings.every_s,
    )


def parameters(spec: Mapping[str, Any]) -> dict[str, str]:
    """The terms of a run, flat: `local.epochs` → `2`; who takes part is a number, and no device is named."""
    flat = dict(_flat(spec, ""))
    kept = {name: value for name, value in flat.items() if not name.startswith(HIDDEN)}
    return kept | {"devices": str(len(spec.get("members", ())))}


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif value not in (None, "", [], ()):
        yield name, str(value)


def _metrics(row: Round) -> list[Metric]:
    """A round's figures; those of single devices (`accuracy.<device>`) stay here."""
    return [
        Metric(key=name, value=value, at=row.at, step=row.number)
        for name, value in sorted(row.metrics.items())
        if "." not in name and math.isfinite(value)
    ]


def _is_told(run: Run, before: TrackedRun | None) -> bool:
    return before is not None and run.state not in OPEN and before.state == run.state.value
