"""Why a device runs what it runs: the whole line from data to live figures, in one answer."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from cloud.api.views.devices import device_view
from cloud.api.views.jobs import job_view
from cloud.api.views.releases import release_view
from cloud.api.views.rollouts import gate_views
from cloud.api.views.runs import run_view
from cloud.api.views.telemetry import latency
from cloud.rollout.state import Rollout
from cloud.store.attestations import Attestations
from cloud.store.drift import DriftStore
from cloud.store.jobs import CentralJobs
from cloud.store.releases import ReleaseRow, Releases
from cloud.store.rollouts import RolloutDevice, Rollouts
from cloud.store.runs import Runs
from cloud.store.telemetry import TelemetryRow, telemetry_rows
from shared.api import CentralJob, DeviceModel, Lineage, Live, ModelLineage, Run


def lineage(connection: Connection, device: str) -> Lineage:
    """All of it, for each model line of a device.

    Raises:
        UnknownError: there is no such device.
    """
    view = device_view(connection, device)
    return Lineage(
        device=view.id, fleet=view.fleet, models=[_model(connection, view.id, status) for status in view.models]
    )


def _model(connection: Connection, device: str, status: DeviceModel) -> ModelLineage:
    row = Releases(connection).find(status.serving)
    if row is None:
        return ModelLineage(status=status)
    release = release_view(row, attestations=Attestations(connection).of(row.id))
    run, wave = _run(connection, row), _wave(connection, device, row)
    rollout, place = wave if wave is not None else (None, None)
    return ModelLineage(
        status=status,
        release=release,
        variant=next((found for found in release.variants if found.name == status.variant), None),
        run=run,
        jobs=_jobs(connection, row),
        cohort=sorted({name for found in (run.rounds if run else []) for name in found.cohort}),
        rollout=rollout.id if rollout else "",
        rollout_state=rollout.state.value if rollout else "",
        gates=gate_views(rollout.proofs.get(str(place.wave), ())) if rollout and place else [],
        wave=place.wave if place else None,
        offered_at=place.offered_at if place else None,
        active_at=place.active_at if place else None,
        live=_live(connection, device, row.id),
    )


def _run(connection: Connection, row: ReleaseRow) -> Run | None:
    found = Runs(connection).find(row.run)
    return run_view(connection, found) if found else None


def _jobs(connection: Connection, row: ReleaseRow) -> list[CentralJob]:
    """What was done with data of the company's own for a release: warm starts of the runs it goes back to, too."""
    store, runs, subjects, run = CentralJobs(connection), Runs(connection), [row.id], row.run
    while run and run not in subjects:
        subjects.append(run)
        found = runs.find(run)
        run = str(found.spec.get("start", "")) if found else ""
    return [job_view(job) for subject in subjects for job in store.all(subject=subject)]


def _wave(connection: Connection, device: str, row: ReleaseRow) -> tuple[Rollout, RolloutDevice] | None:
    """The newest rollout that brought the release here."""
    store = Rollouts(connection)
    for rollout in reversed(store.all()):
        if row.id in (rollout.release, rollout.fallback):
            place = store.place(rollout.id, device)
            if place is not None:
                return rollout, place
    return None


def _live(connection: Connection, device: str, release: str) -> Live:
    rows = [row for row in telemetry_rows(connection, device=device) if row.release == release]
    figures, labelled = latency(rows), sum(row.labelled for row in rows)
    return Live(
        processed=sum(row.processed for row in rows),
        errors=sum(row.errors for row in rows),
        labelled=labelled,
        accuracy=_share(rows, labelled),
        p50_ms=figures.p50_ms if figures else None,
        p99_ms=figures.p99_ms if figures else None,
        drift=_drift(connection, device, release),
    )


def _share(rows: Sequence[TelemetryRow], labelled: int) -> float | None:
    return sum(row.correct for row in rows) / labelled if labelled else None


def _drift(connection: Connection, device: str, release: str) -> float | None:
    scores = [row.score for row in DriftStore(connection).scores(device=device) if row.release == release]
    return scores[-1] if scores else None
