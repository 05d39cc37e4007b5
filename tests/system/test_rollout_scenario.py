"""The rollout's story as an operator runs it: forty real agents, then virtual ones, and what is left behind.

On two idle cores the first takes about four minutes and the second about three; both are slow, and run with the other
system tests only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from simulations.packages import Data
from simulations.scenarios.rollout.acts import ACTS, BUDGET

pytestmark = [pytest.mark.system, pytest.mark.slow]

BIN = Path(sys.executable).parent
LIMIT_S = 1800
"""Far above what it takes: how long it took is the report's word, and no test's."""


def played(tmp_path: Path, data: Data, *options: str, status: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run the scenario in a directory of its own, over the data packages that are there already; return its JSON."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "data").symlink_to(data.directory)
    place = ["--state", str(tmp_path / "state"), "--report", str(tmp_path / "report"), "--json"]
    command = [str(BIN / "hinterland"), "simulate", "--scenario", "rollout", "--seed", "7", *options, *place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode in status, done.stderr
    assert ours(tmp_path) == []
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def ours(tmp_path: Path) -> list[str]:
    """Command lines of processes that work in this test's directory."""
    lines = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(tmp_path) in line and process.pid != os.getpid():
            lines.append(line)
    return lines


def test_only_good_releases_stay(tmp_path: Path, data: Data) -> None:
    report = played(tmp_path, data)
    assert report == json.loads((tmp_path / "report" / "rollout.json").read_text())
    assert report["devices"] == 40
    assert all(check["held"] for check in report["checks"])
    acts = {act["name"]: act for act in report["acts"]}
    assert list(acts) == [act.name for act in ACTS]
    assert all(check["held"] for act in acts.values() for check in act["checks"])
    for name in ("first", "good"):
        assert acts[name]["state"] == "done"
        assert sum(wave["active"] for wave in acts[name]["waves"]) == 40
    for name in ("worse", "crash", "hang", "hog", "unseen"):
        assert acts[name]["state"] == "halted"
        assert set(acts[name]["reached"]) <= set(report["canaries"])
        assert sum(wave["asked"] for wave in acts[name]["waves"][1:]) == 0
    assert abs(acts["good"]["accuracy"] - acts["worse"]["accuracy"] - 0.08) <= 0.01
    (worse,) = [gate for gate in acts["worse"]["waves"][0]["gates"] if gate["gate"] == "accuracy"]
    assert (worse["verdict"], worse["measured"] < worse["bound"]) == ("worse", True)
    assert worse["worse"] >= worse["needed"] > 0
    assert all(most <= BUDGET for act in acts.values() for most in act["busiest"].values())
    assert all(act["champion_errors"] == 0 for act in acts.values())
    assert "Only the good releases stayed" in (tmp_path / "report" / "rollout.html").read_text()


def test_a_breach_halts_a_crowd_within_its_wave(tmp_path: Path, data: Data) -> None:
    report = played(tmp_path, data, "--devices", "1000", status=(0, 1))  # 1 where only the limit of time was missed
    assert report["devices"] == 1000
    told = {check["name"]: check["held"] for check in report["checks"]}
    # how fast this machine is, and whom it serves beside, is nothing that a test can promise
    assert {name: held for name, held in told.items() if "status updates" not in name} == dict.fromkeys(
        [name for name in told if "status updates" not in name], True
    )
    breach = report["breach"]
    assert (breach["asked_after"], breach["later"]) == (0, 0)
    assert breach["tolerated"] < breach["failed"] <= breach["asked_before"] < breach["devices"]
    assert report["latency"]["batches"] > 3000
