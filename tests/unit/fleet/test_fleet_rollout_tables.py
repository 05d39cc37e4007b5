"""What people read of a rollout: where it stands, what its gates have proven, which devices failed."""

import io

import msgspec
import pytest
from rich.console import Console

from fleet import rollout_tables, tables
from shared.access import Vote
from shared.api import Device, DeviceModel, Gate, Lineage, ModelLineage, Release, Rollout, RolloutDevice, RolloutWave

PROOF = Gate(gate="accuracy", verdict="not worse", measured=-0.0042, bound=-0.03, inputs=800, not_worse=6.1, needed=3.7)
BOUND = Gate(gate="latency", verdict="open", measured=None, bound=1.5, inputs=0)
ROLLOUT = Rollout(
    id="m-2-lab", fleet="lab", model="m", release="m-2", previous="m-1", fallback="", state="shadowing", wave=1,
    waves=[], reason="", created_at=1.0, content="ab" * 32,
    progress=[
        RolloutWave(devices=1, asked=1, active=1, failed=0, compared=800, gates=[PROOF]),
        RolloutWave(devices=40, asked=0, active=0, failed=2, gates=[BOUND]),
    ],
)  # fmt: skip
ROWS = [RolloutDevice(device="cam-7", wave=1, stage="failed", reason="it hung")]


def text(*shown):
    console = Console(width=160, file=io.StringIO())
    for each in shown:
        console.print(each)
    return console.file.getvalue()


def changed(**fields):
    return msgspec.structs.replace(ROLLOUT, **fields)


def test_one_in_full():
    votes = [Vote(by="operator:bob", approved=False, reason="holidays", at=1.0)]
    said = text(*rollout_tables.rollout(changed(state="pending", approval="rejected", votes=votes), ROWS))
    assert "pending, not approved" in said
    assert "operator:bob rejects (holidays)" in said
    assert ("-0.0042" in said, "6.1 of 3.7" in said, "nothing" in said) == (True, True, True)
    assert "Devices, 1 of 41" in said
    assert ("cam-7" in said, "it hung" in said) == (True, True)


def test_a_list_and_a_line():
    assert "1/41" in text(rollout_tables.rollouts([ROLLOUT]))
    said = rollout_tables.line(ROLLOUT)
    assert said == "m-2-lab: shadowing, wave 2/2, 0 of 40 active, 2 failed, latency open (0)"
    assert (
        rollout_tables.line(changed(state="halted", reason="cam-7: failed", wave=-1))
        == "m-2-lab: halted: cam-7: failed"
    )
    assert "open, paused" in rollout_tables.line(changed(state="open", paused_at=3.0))


@pytest.mark.parametrize(("wave", "words"), [(0, "m-2-lab, wave 1, done"), (None, "m-2-lab, done")])
def test_why_a_device_runs_what_it_runs_names_what_its_wave_had_proven(wave, words):
    release = Release(
        id="m-2", model="m", counter=2, digest="c" * 64, signers=[], run="", replaces="", created_at=1.0,
        published_at=2.0, variants=[], evaluation={}, labels=[],
    )  # fmt: skip
    found = ModelLineage(
        status=DeviceModel(model="m", desired="m-2", serving="m-2"), release=release, rollout="m-2-lab",
        rollout_state="done", wave=wave, gates=[PROOF],
    )  # fmt: skip
    said = text(*tables.lineage(Lineage(device="cam-7", fleet="lab", models=[found])))
    assert words in said
    assert "accuracy -0.0042 against -0.03 over 800 inputs: not worse" in said


def test_labels_are_listed_where_there_are_some():
    bare = Device(
        id="cam-7", fleet="lab", state="enrolled", hardware=["cpu"], node="", serial="1", expires_at=1.0,
        enrolled_at=1.0, last_seen=1.0,
    )  # fmt: skip
    assert "labels" not in text(tables.devices([bare]))
    called = msgspec.structs.replace(bare, labels={"site": "kiel", "line": "3"})
    assert "line=3, site=kiel" in text(tables.devices([bare, called]))
