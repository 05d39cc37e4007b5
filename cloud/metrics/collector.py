"""Every metric with its name, its labels and how it is found; read anew at each scrape.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming): base units in the name, `_total` for
what only grows. No label names a device, a run or a person: what is counted per client is counted by state, and a model
line has at most one run under way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from cloud.store import counts
from cloud.store.database import Database
from cloud.store.runs import Run, Runs, RunState
from cloud.training.progress import ClientState, RoundProgress
from shared.clock import Clock
from shared.errors import FaultError

log = logging.getLogger(__name__)

Values = Mapping[tuple[str, ...], float]
"""Labels → value."""

SILENT_S = 900.0
"""A device that was not heard of for so long counts as silent: agents tell of themselves every minute or so."""


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What this process took in since it started."""

    batches: int = 0
    commits: int = 0
    poisoned: int = 0
    waiting: int = 0
    commit_s: float = 0.0
    """Seconds spent committing."""

    lag_s: float = 0.0
    """Age of the oldest record of the newest commit, by its device's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures come from."""

    database: Database
    clock: Clock
    health: Callable[[], Mapping[str, str]]
    """Part → `ok` or what is wrong."""

    certificates: Callable[[], Mapping[str, float]]
    """Certificate of ours → days until it ends."""

    ingested: Callable[[], Ingested] = Ingested
    broker: Callable[[], tuple[bool, int]] = lambda: (False, 0)
    """Whether the broker is connected, and sessions opened so far."""


def expose(sources: Sources) -> bytes:
    """One scrape in Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Figures(sources))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """A database that is away takes its metrics with it, and only those."""
        yield InfoMetricFamily(
            "hinterland_build", "Version of the coordinator.", value={"version": version("hinterland")}
        )
        yield from _parts(self._sources)
        yield from _ingest(self._sources.ingested())
        yield from _broker(*self._sources.broker())
        try:
            with self._sources.database.read() as connection:
                found = [*_stored(connection, at=self._sources.clock.now())]
        except FaultError as error:
            log.warning("metrics of the database are left out: %s", error)
            found = []
        yield _gauge("hinterland_database_up", "Whether the database answered this scrape.", {(): float(bool(found))})
        yield from found


def _parts(sources: Sources) -> Iterator[Metric]:
    parts: Values = {(name,): float(said.split(":")[0] == "ok") for name, said in sources.health().items()}
    yield _gauge(
        "hinterland_part_healthy", "Whether a part of the coordinator is well, as in /v1/health.", parts, "part"
    )
    left: Values = {(name,): days * 86_400.0 for name, days in sources.certificates().items()}
    text = "Until a certificate of the coordinator's own ends."
    yield _gauge("hinterland_certificate_remaining_seconds", text, left, "certificate")


def _ingest(told: Ingested) -> Iterator[Metric]:
    yield _counter("hinterland_ingest_batches", "Batches of devices that this process committed.", told.batches)
    yield _counter("hinterland_ingest_commits", "Commits that took them.", told.commits)
    yield _counter("hinterland_ingest_commit_seconds", "Time spent in those commits.", told.commit_s)
    yield _counter("hinterland_ingest_poisoned_batches", "Batches that could not be digested.", told.poisoned)
    yield _gauge("hinterland_ingest_waiting_batches", "Batches that wait for a commit.", {(): float(told.waiting)})
    text = "Age of the oldest record of the newest commit, by the clock of its device."
    yield _gauge("hinterland_ingest_lag_seconds", text, {(): told.lag_s})


def _broker(connected: bool, sessions: int) -> Iterator[Metric]:
    yield _gauge("hinterland_broker_connected", "Whether this process has a session.", {(): float(connected)})
    yield _counter("hinterland_broker_sessions", "Sessions that it opened.", sessions)


def _stored(connection: Connection, *, at: float) -> Iterator[Metric]:
    health = counts.devices_by_health(connection, silent_before=at - SILENT_S)
    text = "Devices, each under the worst that is known of it."
    yield _gauge("hinterland_devices", text, health, "fleet", "health")
    yield _gauge("hinterland_runs", "Federated runs.", counts.by_state(connection, "runs"), "state")
    yield _gauge("hinterland_jobs", "Central jobs.", counts.by_state(connection, "jobs"), "kind", "state")
    yield _gauge("hinterland_releases", "Releases.", counts.by_state(connection, "releases"), "state")
    yield _gauge("hinterland_rollouts", "Rollouts.", counts.by_state(connection, "rollouts"), "state")
    progress = counts.rollout_progress(connection)
    text = "Devices of rollouts under way, by wave and by what they said last."
    yield _gauge("hinterland_rollout_devices", text, progress, "model", "fleet", "wave", "stage")
    text = "Wave at work, from 0, of rollouts under way."
    yield _gauge("hinterland_rollout_wave", text, counts.rollout_waves(connection), "model", "fleet")
    text = "Refused client updates that count against their devices."
    yield _gauge("hinterland_strikes", text, {(): counts.open_strikes(connection)})
    for name, total in counts.received(connection)._asdict().items():
        yield _counter(f"hinterland_records_{name}", f"Records of devices that were {name}, over all replicas.", total)
    yield from _running(connection)


def _running(connection: Connection) -> Iterator[Metric]:
    """Runs under way: at most one of each model line."""
    planned: dict[tuple[str, ...], float] = {}
    current: dict[tuple[str, ...], float] = {}
    clients: dict[tuple[str, ...], float] = {}
    scores: dict[str, dict[tuple[str, ...], float]] = {"accuracy": {}, "loss": {}, "seconds": {}}
    for run in Runs(connection).open():
        if run.state is not RunState.RUNNING:
            continue
        rounds = Runs(connection).rounds(run.id)
        closed = [row for row in rounds if row.digest]
        planned[run.model,] = float(run.spec.get("rounds", 0))
        current[run.model,] = float(max((row.number for row in rounds), default=0))
        clients |= _clients(run, rounds[-1].progress if rounds else {})
        for name, found in scores.items():
            if closed and name in closed[-1].metrics:
                found[run.model,] = closed[-1].metrics[name]
    yield _gauge("hinterland_run_planned_rounds", "Rounds of the run under way.", planned, "model")
    yield _gauge("hinterland_run_round", "Round at work; 0 before the first.", current, "model")
    yield _gauge("hinterland_run_clients", "Clients of that round.", clients, "model", "state")
    text = "Of the newest closed round, on the hold-outs of its devices."
    yield _gauge("hinterland_run_accuracy_ratio", text, scores["accuracy"], "model")
    yield _gauge("hinterland_run_loss", text, scores["loss"], "model")
    yield _gauge("hinterland_run_round_duration_seconds", "Of the newest closed round.", scores["seconds"], "model")


def _clients(run: Run, progress: Mapping[str, object]) -> dict[tuple[str, ...], float]:
    """(Model, state) → clients; every state is there, so that none seems to be missing when it is 0."""
    found: dict[tuple[str, ...], float] = {(run.model, state.value): 0.0 for state in ClientState}
    if progress:
        for client in msgspec.convert(progress, RoundProgress).clients.values():
            found[run.model, client.state.value] += 1
    return found


def _gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    """Prometheus' text format gives its name the `_total`."""
    family = CounterMetricFamily(name, text)
    family.add_metric((), value)
    return family
