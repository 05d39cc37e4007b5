"""Every threat as a live attack, as an operator runs it; and a defence taken away, to see its rows go red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from simulations.broker import find_mosquitto
from simulations.scenarios.attacks import broker_rights
from simulations.scenarios.attacks.ground import FLEETS, TENANT, Ground
from simulations.scenarios.attacks.issuer import Issuer
from simulations.scenarios.attacks.play import FAMILIES, LEAST, carry_out
from simulations.scenarios.attacks.row import Row, Threat
from simulations.world.process import Process
from simulations.world.world import World

pytestmark = [pytest.mark.system, pytest.mark.slow]

BIN = Path(sys.executable).parent
LIMIT_S = 1800
"""Far above what it takes: how long it took is the report's word, and no test's."""


def test_every_attack_is_refused_and_every_control_accepted(tmp_path: Path) -> None:
    place = ["--state", str(tmp_path / "state"), "--report", str(tmp_path / "report")]
    argv = [str(BIN / "hinterland"), "simulate", "--scenario", "attacks", *place, "--json", str(tmp_path / "out.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    report = json.loads((tmp_path / "out.json").read_text())
    rows = report["rows"]
    bad = [(r["id"], r["fault"] or r["error"], r["observed"]) for r in rows if not (r["refused"] and r["accepted"])]
    assert bad == []
    assert done.returncode == 0, done.stdout
    assert len(rows) >= LEAST
    assert {row["threat"] for row in rows} >= {str(threat) for threat in Threat}
    assert {row["family"] for row in rows} == set(FAMILIES)
    assert [identity for identity, count in Counter(row["id"] for row in rows).items() if count > 1] == []
    for row in rows:
        assert row["fault"] == "", row
        assert row["error"] or row["observed"], row
        assert row["done"], row
        assert row["control"], row
    assert sum(row["seconds"] for row in rows) > 10
    assert sum(bool(row["error"]) for row in rows) > len(rows) / 2
    assert json.loads((tmp_path / "report" / "attacks.json").read_text()) == report
    assert f"{len(rows)} of {len(rows)} attacks" in (tmp_path / "report" / "attacks.html").read_text()
    assert [line for line in _command_lines() if str(tmp_path) in line] == []


def test_a_family_that_does_not_exist_is_named(tmp_path: Path) -> None:
    argv = [str(BIN / "hinterland"), "simulate", "--scenario", "attacks", "--only", "dragons", "--state", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert "dragons" in done.stdout
    assert "Remedy" in done.stdout


@pytest.fixture
def lawless(tmp_path: Path) -> Iterator[Ground]:
    """A world whose broker knows who everybody is, and lets everybody do everything."""
    world = World(tmp_path / "world")
    issuer = Issuer(TENANT)
    ground = Ground(world, issuer)
    broker = Process("lawless", [str(find_mosquitto()), "-c", str(tmp_path / "lawless.conf")], logs=tmp_path)
    try:
        world.build(tenant=TENANT, fleets=FLEETS)
        world.start()
        assert world._broker is not None
        world._broker.stop()
        lines = world.layout.broker_config.read_text().splitlines()
        (tmp_path / "lawless.conf").write_text("\n".join(line for line in lines if not line.startswith("acl_file")))
        broker.start()
        deadline = time.monotonic() + 180
        while world.client.health().status != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield ground
    finally:
        ground.close()
        issuer.close()
        broker.stop()
        world.stop()


def test_without_the_brokers_access_list_its_rows_go_red(lawless: Ground) -> None:
    """Were a row green here, it would be green whatever the broker does."""
    rows = {row.id.removeprefix("topics."): row for row in carry_out("topics", broker_rights.attacks, lawless)}
    assert [row.id for row in rows.values() if row.fault] == []
    guarded = [name for name in rows if name.startswith(("write-anothers", "write-t", "write-m", "read-"))]
    assert len(guarded) >= 8
    assert [name for name in guarded if _held(rows[name])] == []
    for name in ("no-certificate", "self-made-authority", "server-certificate", "expired-certificate"):
        assert rows[name].held, "certificates are still asked for"


def _held(row: Row) -> bool:
    return row.refused


def _command_lines() -> list[str]:
    found = (
        " ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]) if each.pid != os.getpid()
    )
    return list(found)
