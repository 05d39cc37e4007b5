"""The whole loop as a newcomer runs it: real processes, real data, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from simulations.packages import Data

pytestmark = [pytest.mark.system, pytest.mark.slow]

BIN = Path(sys.executable).parent
LIMIT_S = 1800
"""Far above what it takes: how long it took is the report's word, and no test's."""


@pytest.fixture
def command(tmp_path: Path, data: Data) -> list[str]:
    """The scenario in a directory of its own, over the data packages that are there already."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "data").symlink_to(data.directory)
    place = ["--state", str(tmp_path / "state"), "--report", str(tmp_path / "report")]
    return [str(BIN / "hinterland"), "simulate", "--scenario", "loop", "--seed", "7", *place]


def ours(tmp_path: Path) -> list[str]:
    """Command lines of processes that work in this test's directory."""
    lines = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(tmp_path) in line and process.pid != os.getpid():
            lines.append(line)
    return lines


def test_the_loop_closes(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["loop_closed"]
    assert len(report["devices"]) >= 5
    accuracy = report["accuracy"]
    assert accuracy["after_retrain"] >= accuracy["under_drift"] + 0.10
    assert min(accuracy["windows"].values()) >= 50
    assert report["telemetry"]["sent"] == report["telemetry"]["stored"] > 100
    assert report["telemetry"]["lost"] == report["telemetry"]["duplicated"] == 0
    assert report["inference"]["errors"] == 0
    assert report["inference"]["windows"] > 1000
    assert report["inference"]["frames"] > 20
    assert report["drift"]["devices"] == report["shifted_devices"]
    by_model = {release["id"]: release for release in report["releases"]}
    assert {"activity-1", "activity-2", "detector-1", "fashion-1"} <= by_model.keys()
    for release in by_model.values():
        assert release["active_after_s"]
        assert all(seconds >= 0 for seconds in release["active_after_s"].values())
    assert len(by_model["activity-2"]["active_after_s"]) == 5
    assert all(run["model_digest"] for run in report["runs"] if run["verdict"] == "released")
    assert report["detections"].get("person", 0) > 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "The loop closed" in page
    assert "data:image/jpeg;base64," in page
    assert ours(tmp_path) == []


def test_ctrl_c_stops_everything(command: list[str], tmp_path: Path) -> None:
    story = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + LIMIT_S
        while sum("agent.toml" in line for line in ours(tmp_path)) < 2:
            assert story.poll() is None, story.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        story.send_signal(signal.SIGINT)
        said, _ = story.communicate(timeout=180)
    finally:
        story.kill()
        story.wait()
        assert story.stdout is not None
        story.stdout.close()
    assert story.returncode == 130, said
    assert "Stopped" in said
    assert ours(tmp_path) == []
    assert "Traceback" not in said
