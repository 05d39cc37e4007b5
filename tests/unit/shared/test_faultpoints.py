"""Fault points: named in one table, reached in the sources, silent unless the environment names one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.faultpoints import POINTS, VARIABLE, here
from shared.messages import Stage

ROOT = Path(__file__).parents[3]


def test_every_place_in_the_sources_is_in_the_table_and_none_beside():
    sources = "\n".join(path.read_text() for path in (ROOT / "edge").rglob("*.py"))
    named = set(re.findall(r'\bhere\("([\w.-]+)"\)', sources)) | {f"journalled.{stage}" for stage in Stage}
    assert named == set(POINTS)


def test_nothing_happens_unless_the_environment_names_the_place(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    here("update.committed")
    monkeypatch.setenv(VARIABLE, "update.remembered")
    here("update.committed")


@pytest.mark.parametrize(("point", "status"), [("update.committed", -signal.SIGKILL), ("update.remembered", 0)])
def test_the_process_ends_there(point, status):
    code = "from shared.faultpoints import here; here('update.committed')"
    environment = os.environ | {VARIABLE: point}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert done.returncode == status
