"""Watching the clients of a run."""

import json

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from fleet.client import Client
from fleet.commands import runs
from fleet.main import app
from shared.api import ClientProgress, Round, RoundProgress, Run

RUN = Run(
    id="m-run-1", model="m", number=1, state="running", cause="operator", reason="", spec={}, result={}, release="",
    created_at=1.0,
)  # fmt: skip
CLOSED = Round(number=1, cohort=["a", "b"], metrics={"loss": 0.25, "accuracy": 0.5}, digest="d" * 64, at=2.0)
DONE = msgspec.structs.replace(RUN, state="released", rounds=[CLOSED])


def at(state, reason=""):
    return ClientProgress(state=state, at=1.0, reason=reason)


TRAINING = RoundProgress(round=1, clients={"a": at("training"), "b": at("training")})
OVER = RoundProgress(
    round=1, finished=True, clients={"a": at("uploaded"), "b": at("failed", "no answer")}, excluded={"c": "hot"}
)


@pytest.fixture
def coordinator(monkeypatch):
    """One whose run is over at the second look."""
    states = [RUN, DONE]

    def answer(request):
        if request.url.path.endswith("/progress"):
            return httpx.Response(200, content=msgspec.json.encode([TRAINING if states else OVER]))
        return httpx.Response(200, content=msgspec.json.encode(states.pop(0) if states else DONE))

    monkeypatch.setattr(runs, "POLL_S", 0.0)
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(
        "fleet.session.Client", lambda url, **_: Client("https://test", key="hlk_x", transport=transport)
    )
    monkeypatch.setenv("HINTERLAND_URL", "https://test")
    monkeypatch.setenv("HINTERLAND_KEY", "hlk_x")


def test_without_a_terminal_each_change_is_a_line(coordinator):
    result = CliRunner().invoke(app, ["runs", "watch", "m-run-1"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "m-run-1 round 1: a training",
        "m-run-1 round 1: b training",
        "m-run-1 round 1: a uploaded",
        "m-run-1 round 1: b failed: no answer",
        "m-run-1 round 1: loss 0.2500, accuracy 0.5000",
    ]


def test_programs_get_the_run_with_its_clients(coordinator):
    result = CliRunner().invoke(app, ["runs", "watch", "m-run-1", "--json"])
    told = json.loads(result.stdout)
    assert told["state"] == "released"
    assert told["progress"][0]["clients"]["b"]["reason"] == "no answer"
    assert told["progress"][0]["excluded"] == {"c": "hot"}


def test_on_a_terminal_a_table_of_the_round_is_drawn(coordinator, monkeypatch):
    monkeypatch.setattr(runs, "_is_terminal", lambda: True)
    result = CliRunner(env={"TERM": "xterm", "COLUMNS": "120"}).invoke(app, ["runs", "watch", "m-run-1"])
    assert result.exit_code == 0, result.output
    assert "loss 0.2500" in result.stdout
