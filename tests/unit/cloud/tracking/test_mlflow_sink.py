"""Runs told to a small server that keeps MLflow's documented rules; killed anywhere, away, and refusing.

The server here is a real HTTP server with the calls that the sink makes, strict about what it is asked: it answers 400
to any field that MLflow 3 does not have, to a parameter that changes, and to more than a call may carry. The sink was
run against MLflow's own server, too; `docs/decisions/0023-mlflow-over-http.md` says which.
"""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from cloud.store.jobs import CentralJobs, JobRow, JobState
from cloud.store.releases import Releases
from cloud.store.runs import Round, Run, Runs, RunState
from cloud.store.tracked import Tracked
from cloud.tracking.mlflow import Metric, MlflowServer
from cloud.tracking.sink import MlflowSink, parameters
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.errors import RefusedError, TransportError
from shared.ids import sha256

FIELDS = {
    "experiments/get-by-name": {"experiment_name"},
    "experiments/create": {"name"},
    "runs/search": {"experiment_ids", "filter", "max_results"},
    "runs/create": {"experiment_id", "run_name", "start_time", "tags"},
    "runs/log-batch": {"run_id", "metrics", "params", "tags"},
    "runs/update": {"run_id", "status", "end_time"},
}


class Tracker(ThreadingHTTPServer):
    """Keeps experiments and runs, and dies or fails when a test says so."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments, self.runs, self.calls, self.tokens = {}, {}, [], set()
        self.fail = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path, asked):
        if self.fail is not None:
            return self.fail
        if unknown := asked.keys() - FIELDS[path]:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": f"unknown {unknown}"}
        return getattr(self, path.replace("/", "_").replace("-", "_"))(asked)

    def experiments_get_by_name(self, asked):
        if asked["experiment_name"] not in self.experiments:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
        return 200, {"experiment": {"experiment_id": self.experiments[asked["experiment_name"]]}}

    def experiments_create(self, asked):
        assert asked["name"] not in self.experiments
        self.experiments[asked["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[asked["name"]]}

    def runs_search(self, asked):
        key, _, value = asked["filter"].removeprefix("tags.`").partition("` = ")
        found = [r for r in self.runs.values() if r["tags"].get(key) == value.strip("'")]
        return 200, {"runs": [{"info": {"run_id": run["id"]}} for run in found]} if found else {}

    def runs_create(self, asked):
        run = {"id": f"r{len(self.runs)}", "name": asked["run_name"], "params": {}, "metrics": {}, "status": "RUNNING"}
        run["tags"] = {tag["key"]: tag["value"] for tag in asked["tags"]}
        self.runs[run["id"]] = run
        return 200, {"run": {"info": {"run_id": run["id"]}}}

    def runs_log_batch(self, asked):
        run = self.runs[asked["run_id"]]
        if len(asked.get("params", [])) > 100 or len(asked.get("metrics", [])) > 1000:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "too many"}
        for param in asked.get("params", []):
            if run["params"].setdefault(param["key"], param["value"]) != param["value"] or len(param["value"]) > 500:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": f"{param['key']} changes"}
        for metric in asked.get("metrics", []):
            run["metrics"][metric["key"], metric["step"], metric["timestamp"]] = metric["value"]
        run["tags"] |= {tag["key"]: tag["value"] for tag in asked.get("tags", [])}
        return 200, {}

    def runs_update(self, asked):
        self.runs[asked["run_id"]] |= {"status": asked["status"], "end": asked["end_time"]}
        return 200, {"run_info": {}}


class Handler(BaseHTTPRequestHandler):
    """MLflow's prefix, JSON both ways."""

    def do_GET(self):
        where = urlsplit(self.path)
        self._serve(where.path, {key: values[0] for key, values in parse_qs(where.query).items()})

    def do_POST(self):
        self._serve(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _serve(self, path, asked):
        path = path.removeprefix("/api/2.0/mlflow/")
        self.server.calls.append(path)
        self.server.tokens.add(self.headers["authorization"])
        status, said = self.server.answer(path, asked)
        body = json.dumps(said).encode() if isinstance(said, dict) else said
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def tracker():
    made = Tracker()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def make_sink(database, tracker):
    opened = []

    def make(db=database, url=None, token="t0k3n"):
        server = MlflowServer(url or tracker.url, token=token, deadline_s=20.0)
        opened.append(server)
        return MlflowSink(
            database=db, server=server, tenant="acme", experiment="trials", url="https://hinterland.test:8443"
        )

    yield make
    for server in opened:
        server.close()


SPEC = {"members": [{"device": "secret-1", "node": 1}], "local": {"epochs": 2}, "seed": 7, "rounds": 3, "start": "/x/y"}


def begin(database, name="activity-run-1"):
    with database.write() as connection:
        run = Run(
            id=name, model="activity", number=1, state=RunState.RUNNING, cause="drift", reason="winter", spec=SPEC,
            created_at=10.0,
        )  # fmt: skip
        Runs(connection).add(run)


def close_round(database, number, name="activity-run-1"):
    metrics = {"accuracy": number / 10, "loss": 1.0, "accuracy.secret-1": 0.5, "train_loss": float("nan")}
    with database.write() as connection:
        row = Round(
            run=name, number=number, cohort=["secret-1"], metrics=metrics, digest=str(number) * 64, at=10.0 + number
        )
        Runs(connection).put_round(row)


def release(database):
    data = b"model" * 10
    variant = Variant(
        name="cpu.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest=sha256(data),
        size=len(data), chunks=split(data),
    )  # fmt: skip
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    with database.write() as connection:
        Releases(connection).add(
            Release(id="activity-1", model="activity", counter=1, schema=schema, variants=[variant], created=1.0)
        )
        state = RunState.RELEASED.value
        Runs(connection).change("activity-run-1", state=state, release="activity-1", finished_at=20.0)
    return sha256(data)


def test_a_run_is_told_from_its_terms_to_its_model(database, tracker, make_sink):
    sink = make_sink()
    begin(database)
    sink.turn()
    close_round(database, 1)
    close_round(database, 2)
    sink.turn()
    digest = release(database)
    sink.turn()
    (told,) = tracker.runs.values()
    assert (told["name"], told["status"], told["end"]) == ("activity-run-1", "FINISHED", 20_000)
    assert told["params"] == {"local.epochs": "2", "seed": "7", "rounds": "3", "devices": "1"}
    assert told["metrics"] == {
        ("accuracy", 1, 11_000): 0.1, ("accuracy", 2, 12_000): 0.2, ("loss", 1, 11_000): 1.0, ("loss", 2, 12_000): 1.0,
    }  # fmt: skip
    tags = told["tags"]
    assert (tags["hinterland.run"], tags["hinterland.weights"]) == ("acme/activity-run-1", "2" * 64)
    assert tags["hinterland.artefact"] == "https://hinterland.test:8443/v1/releases/activity-1"
    assert (tags["hinterland.file.cpu.onnx"], tags["mlflow.note.content"]) == (digest, "winter")
    assert tracker.tokens == {"Bearer t0k3n"}
    assert "secret-1" not in json.dumps([str(told)])


def test_nothing_is_asked_while_nothing_changes(database, tracker, make_sink):
    sink = make_sink()
    begin(database)
    sink.turn()
    calls = len(tracker.calls)
    sink.turn()
    release(database)
    sink.turn()
    ended = len(tracker.calls)
    sink.turn()
    assert (len(tracker.calls), calls < ended) == (ended, True)


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 10))
def test_killed_at_any_call_the_run_is_there_once_and_whole(database, tracker, make_sink, monkeypatch, at, before):
    begin(database)
    close_round(database, 1)
    release(database)
    dying, seen, ask = make_sink(), [], MlflowServer._ask

    def mortal(self, *arguments, **named):
        seen.append(1)
        if before and len(seen) == at:
            raise Killed
        said = ask(self, *arguments, **named)
        if len(seen) == at:
            raise Killed
        return said

    with monkeypatch.context() as patched:
        patched.setattr(MlflowServer, "_ask", mortal)
        with contextlib.suppress(Killed):
            dying.turn()
    make_sink().turn()
    (told,) = tracker.runs.values()
    assert (told["status"], told["tags"]["hinterland.release"], len(told["metrics"])) == ("FINISHED", "activity-1", 2)


def test_killed_before_it_was_noted_the_run_keeps_its_id(database, tracker, make_sink):
    begin(database)
    make_sink().turn()
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM tracked_runs")
    close_round(database, 1)
    make_sink().turn()
    assert list(tracker.runs) == ["r0"]
    with database.read() as connection:
        assert Tracked(connection).all()["activity-run-1"].remote == "r0"


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        ((503, {"message": "busy"}), "cannot answer now: 503 busy"),
        ((429, {"message": "slower"}), "cannot answer now"),
        ((403, {"error_code": "PERMISSION_DENIED", "message": "not you"}), "refuses"),
        ((200, b"<html>a proxy's page</html>"), "does not answer as MLflow does"),
        ((200, b"[]"), "does not answer as MLflow does"),
    ],
)
def test_a_tracker_that_is_away_or_refuses_is_said_and_caught_up_with(database, tracker, make_sink, fail, says):
    sink = make_sink()
    begin(database)
    tracker.fail = fail
    sink.turn_safely()
    assert says in sink.health
    tracker.fail = None
    close_round(database, 1)
    sink.turn_safely()
    assert sink.health == "ok"
    (told,) = tracker.runs.values()
    assert len(told["metrics"]) == 2


def test_nobody_there_is_no_error_of_ours(database, make_sink):
    begin(database)
    sink = make_sink(url="http://127.0.0.1:9")
    sink.turn_safely()
    assert "does not answer" in sink.health
    with pytest.raises(TransportError):
        sink.turn()


def test_a_failed_run_ends_as_failed_and_first_weights_are_named(database, tracker, make_sink):
    begin(database)
    with database.write() as connection:
        CentralJobs(connection).add(
            JobRow(
                id="activity-run-1-warm", kind="warm-start", subject="activity-run-1", model="activity", by="x",
                state=JobState.DONE, order={"data": "clinic"}, result={"digest": "abc"}, created_at=1.0,
            )
        )  # fmt: skip
        Runs(connection).change("activity-run-1", state="failed", finished_at=12.0)
    make_sink().turn()
    (told,) = tracker.runs.values()
    assert (told["status"], told["tags"]["hinterland.first_weights"]) == ("FAILED", "clinic abc")


def test_many_metrics_and_long_terms_go_in_as_many_calls_as_they_need(tracker, make_sink):
    server = make_sink().server
    run = server.create_run(server.experiment("trials"), name="n", at=1.0, tags={})
    server.log(run, metrics=[Metric(key="m", value=1.0, at=1.0, step=n) for n in range(1201)])
    server.log(run, parameters={f"p{n}": "x" * 900 for n in range(150)})
    assert (len(tracker.runs[run]["metrics"]), len(tracker.runs[run]["params"])) == (1201, 150)
    with pytest.raises(RefusedError, match="changes"):
        server.log(run, parameters={"p0": "y"})


def test_what_names_devices_or_paths_is_no_parameter():
    spec = {"members": [1, 2], "start": "/a", "champion": "/b", "privacy": {"least": 3, "spent": [{"run": "x"}]}}
    assert parameters(spec) == {"devices": "2", "privacy.least": "3"}
    assert parameters({"rule": {"type": "median"}, "local_parts": [], "warm_start": None}) == {
        "rule.type": "median", "devices": "0",
    }  # fmt: skip


async def test_who_does_not_lead_tells_nothing(database, tracker, make_sink):
    import asyncio

    begin(database)
    sink = make_sink()
    sink.leads, sink.every_s = (lambda: False), 0.01
    task = asyncio.create_task(sink.run())
    await asyncio.sleep(0.05)
    assert tracker.calls == []
    sink.leads = lambda: True
    async with asyncio.timeout(120):
        while not tracker.runs or sink.health != "ok":
            await asyncio.sleep(0.01)
    task.cancel()
