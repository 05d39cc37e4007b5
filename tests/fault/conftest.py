"""Ground that every fault is played on, and the table of what became of each row."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.crew import Crew, memory, warm
from tests.fault.ground import Ground, make_ground

ROW = re.compile(r"test_row_(\d+)_(\w+)")

REPORT = "HINTERLAND_FAULT_REPORT"
"""Path of the file that the table is written to."""


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A directory in memory, where killing and copying cost no disk."""
    directory = Path(tempfile.mkdtemp(prefix="faults-", dir=memory()))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def ground(work: Path) -> Ground:
    return make_ground(work / "ground")


@pytest.fixture(scope="session")
def crew(work: Path, ground: Ground) -> Iterator[Crew]:
    crew = Crew(ground, work / "bases")
    crew.prepare()
    yield crew
    warm().shutdown()
    warm.cache_clear()


def needs(*commands: str, root: bool = False) -> None:
    """Skip where a machine cannot do what a fault takes; in CI that is a failure."""
    lacking = [command for command in commands if shutil.which(command, path=_path()) is None]
    reason = f"{', '.join(lacking)} is not installed; `make setup` as root installs it" if lacking else ""
    if root and os.geteuid() != 0:
        reason = "only root may mount"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@pytest.fixture
def cases(record_property: Any) -> Any:
    """Say how many cases a test has played."""
    return lambda count: record_property("cases", count)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of rows, where somebody asked for it."""
    path = os.environ.get(REPORT)
    rows = _rows(terminalreporter.stats)
    if not path or not rows:
        return
    terminalreporter.section("faults")
    for row in rows:
        terminalreporter.line(
            f"{row['row']:>3}  {row['verdict']:<7} {row['cases']:>6} cases {row['seconds']:>7.1f} s  {row['fault']}"
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({"cases": sum(row["cases"] for row in rows), "rows": rows}, indent=1) + "\n")


def _rows(stats: dict[str, list[Any]]) -> list[dict[str, Any]]:
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for verdict in ("passed", "skipped", "failed", "error"):  # the worst comes last and counts
        for report in stats.get(verdict, []):
            found = ROW.match(report.nodeid.rpartition("::")[2])
            if found is None:
                continue
            number, words = int(found[1]), found[2].replace("_", " ")
            row = rows.setdefault((number, words), {"row": number, "fault": words, "cases": 0, "seconds": 0.0})
            row["cases"] += int(dict(report.user_properties).get("cases", 1))
            row["seconds"] = round(row["seconds"] + report.duration, 3)
            row["verdict"] = verdict
    return [rows[key] for key in sorted(rows)]
