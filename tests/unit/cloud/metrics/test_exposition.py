"""What Prometheus reads, by its own parser: names, labels, values, and what is left when a part is away."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud.drift.detect import DriftState
from cloud.metrics.collector import SILENT_S, Ingested, Sources, expose
from cloud.store.database import Database
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.drift import DriftStore
from cloud.store.quarantine import Quarantine, Quarantined, Strike
from cloud.store.runs import Round, Run, Runs, RunState
from cloud.training.progress import ClientProgress, ClientState, RoundProgress
from shared.clock import VirtualClock
from shared.errors import FaultError


@dataclass(frozen=True)
class AwayDatabase(Database):
    """One that does not answer."""

    def read(self):
        raise FaultError("the database is away")


@pytest.fixture
def sources(database):
    clock = VirtualClock()
    return Sources(
        database=database,
        clock=clock,
        health=lambda: {"broker": "ok", "runs": "the disk is full", "leadership": "ok: leads"},
        certificates=lambda: {"api": 2.0},
        ingested=lambda: Ingested(batches=7, commits=3, waiting=2, commit_s=0.5, lag_s=4.0),
        broker=lambda: (True, 2),
    )


def scrape(sources):
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(expose(sources).decode())
        for sample in family.samples
    }


def add(connection, name, at, fleet="wards", **fields):
    base = {"id": name, "fleet": fleet, "state": DeviceState.ENROLLED, "hardware": ["cpu"], "node": "1", "serial": name}
    base |= {"public_key": name.encode(), "expires_at": 2e9, "enrolled_at": at, "last_seen": at}
    Devices(connection).put(Device(**base | fields))


def test_devices_count_once_under_the_worst_that_is_known(sources):
    now = sources.clock.now()
    with sources.database.write() as connection:
        add(connection, "good-1", now)
        add(connection, "good-2", now)
        add(connection, "far-1", now, fleet="barns")
        add(connection, "silent-1", now - SILENT_S - 1)
        add(connection, "gone-1", now, state=DeviceState.REVOKED, alarm="two of it")
        add(connection, "twin-1", now, alarm="two of it")
        add(connection, "liar-1", now)
        add(connection, "moved-1", now)
        held = Quarantined(device="liar-1", since=now, run="r", reason="NaN")
        Quarantine(connection).put(held)
        Quarantine(connection).put(msgspec.structs.replace(held, device="good-2", released_at=now))
        strike = Strike(device="liar-1", run="r", round=1, at=now, check="finite", reason="NaN", measured="")
        Quarantine(connection).strike(strike)
        for device, drifted in (("moved-1", True), ("good-1", False)):
            state = DriftState(device=device, model="activity", release="activity-1", drifted=drifted)
            DriftStore(connection).put_state(state, at=now)
    found = scrape(sources)
    assert {key[1:]: value for key, value in found.items() if key[0] == "hinterland_devices"} == {
        ("wards", "ok"): 2, ("barns", "ok"): 1, ("wards", "silent"): 1, ("wards", "revoked"): 1,
        ("wards", "cloned"): 1, ("wards", "quarantined"): 1, ("wards", "drifted"): 1,
    }  # fmt: skip
    assert found["hinterland_strikes",] == 1


def test_a_run_under_way_is_told_by_round_and_client_state(sources):
    states = (ClientState.UPLOADED, ClientState.UPLOADED, ClientState.TRAINING, ClientState.FAILED)
    progress = RoundProgress(
        round=2, clients={f"d-{n}": ClientProgress(state=state, at=1.0) for n, state in enumerate(states)}
    )
    metrics = {"accuracy": 0.8, "loss": 0.4, "seconds": 2.5, "accuracy.watch-1": 0.7}
    with sources.database.write() as connection:
        spec = {"rounds": 8, "members": []}
        for number, state in enumerate((RunState.RELEASED, RunState.FAILED, RunState.RUNNING), 1):
            run = Run(
                id=f"activity-run-{number}", model="activity", number=number, state=state, cause="drift", spec=spec,
                created_at=1.0,
            )  # fmt: skip
            Runs(connection).add(run)
        for number, digest, said in ((1, "d" * 64, {}), (2, "", msgspec.to_builtins(progress))):
            Runs(connection).put_round(
                Round(
                    run="activity-run-3", number=number, cohort=[], metrics=metrics if digest else {}, digest=digest,
                    at=1.0, progress=said,
                )
            )  # fmt: skip
    found = scrape(sources)
    clients = {key[2]: value for key, value in found.items() if key[0] == "hinterland_run_clients"}
    assert clients == {"selected": 0, "training": 1, "uploaded": 2, "late": 0, "quarantined": 0, "failed": 1}
    assert (found["hinterland_run_planned_rounds", "activity"], found["hinterland_run_round", "activity"]) == (8, 2)
    assert found["hinterland_run_accuracy_ratio", "activity"] == 0.8
    assert found["hinterland_run_round_duration_seconds", "activity"] == 2.5
    assert [found["hinterland_runs", state] for state in ("running", "released", "failed")] == [1, 1, 1]


def test_parts_and_process_are_told(sources):
    found = scrape(sources)
    parts = {key[1]: value for key, value in found.items() if key[0] == "hinterland_part_healthy"}
    assert parts == {"broker": 1, "runs": 0, "leadership": 1}
    assert found["hinterland_certificate_remaining_seconds", "api"] == 2 * 86_400
    assert found["hinterland_ingest_batches_total",] == 7
    assert found["hinterland_ingest_waiting_batches",] == 2
    assert (found["hinterland_broker_connected",], found["hinterland_broker_sessions_total",]) == (1, 2)
    assert found["hinterland_database_up",] == 1
    assert found["process_resident_memory_bytes",] > 1e6


def test_without_its_database_it_still_answers(sources):
    away = replace(sources, database=AwayDatabase(sources.database.engine))
    found = scrape(away)
    assert found["hinterland_database_up",] == 0
    assert found["hinterland_ingest_batches_total",] == 7
    assert not any(key[0] == "hinterland_devices" for key in found)


def test_names_keep_prometheus_conventions_and_no_label_is_unbounded(sources):
    families = list(text_string_to_metric_families(expose(sources).decode()))
    ours = [family for family in families if family.name.startswith("hinterland_")]
    assert len(ours) > 20
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"hinterland(_[a-z]+)+", family.name), family.name
        assert family.type in ("gauge", "counter", "info", "unknown"), family.name
        for sample in family.samples:
            assert (family.type == "counter") is sample.name.endswith("_total"), sample.name
            assert not sample.labels.keys() & {"device", "run", "release", "rollout", "by", "key"}, sample
        assert not re.search(r"(_ms|_milliseconds|_days|_minutes|_count|_sum|_bucket)$", family.name), family.name
