"""A shorter version of the scenario `durable`: two rounds, eight kills, the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from simulations.packages import Data
from simulations.scenarios.durable.plan import Victim
from simulations.scenarios.durable.play import play

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_eight_kills_do_not_change_the_model(tmp_path: Path, data: Data) -> None:
    report = play(
        data,
        state=tmp_path / "state",
        report=tmp_path / "report",
        seed=7,
        port_base=0,
        console=Console(quiet=True),
        kills=8,
        rounds=2,
    )
    assert report.undisturbed.digest == report.killed.digest != ""
    assert report.undisturbed.rounds == report.killed.rounds
    assert report.undisturbed.files == report.killed.files
    assert report.undisturbed.attempts == 1
    assert len(report.kills) == 8
    assert {Victim.JOB, Victim.SUPERLINK, Victim.TRAINER} <= report.by_victim.keys()
    assert all(kill.recovered_s >= 0 for kill in report.kills), report.kills
    assert report.held
