"""From the API's answers to the verdict, the page and the table."""

import msgspec
import pytest
from rich.console import Console

from shared import api
from simulations.report import page, table
from simulations.scenarios import lines
from simulations.scenarios.cast import CAMERA, LABELLED, OWN, SHIFTED, SHIFTED_PHASE, WATCHES
from simulations.scenarios.evidence import Evidence
from simulations.scenarios.verdict import STAGES, Seen, compose

BEGAN = 1000.0


def release(counter):
    name = f"{lines.ACTIVITY}-{counter}"
    variant = api.Variant(
        name="cpu-int8.onnx", digest="ab" * 32, size=1000, precision="int8", runtime="onnxruntime", hardware=["cpu"]
    )
    return api.Release(
        id=name, model=lines.ACTIVITY, counter=counter, run=f"run-{counter}", digest="cd" * 32, signers=["key"],
        replaces="", created_at=BEGAN + 10 * counter, published_at=BEGAN + 10 * counter, variants=[variant],
        evaluation={}, labels=[],
    )  # fmt: skip


def rollout(counter):
    devices = [
        api.RolloutDevice(device=device, wave=0, stage="active", reason="", offered_at=BEGAN + 10 * counter + 1,
                          active_at=BEGAN + 10 * counter + 2)
        for device in WATCHES
    ]  # fmt: skip
    return api.Rollout(
        id=f"r-{counter}", fleet="wards", model=lines.ACTIVITY, release=f"{lines.ACTIVITY}-{counter}", previous="",
        fallback="", state="done", wave=1, waves=[["watch-1"], ["watch-2"]], reason="", created_at=BEGAN,
        devices=devices,
    )  # fmt: skip


def point(counter, phase, correct, *, device="watch-4"):
    return api.AccuracyPoint(
        device=device, model=lines.ACTIVITY, release=f"{lines.ACTIVITY}-{counter}", phase=phase,
        at=BEGAN + 20, labelled=100, correct=correct,
    )  # fmt: skip


def make(*, after=80, stored=50, duplicated=0):
    points = [
        point(1, OWN, 90), point(1, LABELLED, 20), point(1, SHIFTED_PHASE, 40), point(2, SHIFTED_PHASE, after),
        point(1, OWN, 0, device="watch-1"),
    ]  # fmt: skip
    view = api.InferenceView(
        device="watch-4", model=lines.ACTIVITY, pipeline="wrist", release="activity-1", processed=500, errors=0,
        dropped=0, labelled=400, correct=300, counts={"row": 500},
    )  # fmt: skip
    device = api.Device(
        id="watch-4", fleet="wards", state="enrolled", hardware=["cpu"], node="1", serial="1", expires_at=1,
        enrolled_at=1, last_seen=1,
    )  # fmt: skip
    events = [
        api.Event(id=i, at=at, kind="drift.alarm", subject=subject, text="")
        for i, (at, subject) in enumerate([(BEGAN + 5, "watch-4"), (BEGAN + 31, "watch-4"), (BEGAN + 33, "watch-5")])
    ]
    scores = [
        api.DriftScore(device=d, model=lines.ACTIVITY, release="activity-1", score=s, feature="", alarm=True, at=at)
        for d, s, at in (("watch-4", 1.5, BEGAN + 30), ("watch-5", 1.75, BEGAN + 33), ("watch-5", 9.0, BEGAN + 60))
    ]
    return Evidence(
        devices=[device], runs=[], releases=[release(1), release(2)], rollouts=[rollout(1), rollout(2)],
        drift=api.Drift(scores=scores, alarms={}, thresholds={lines.ACTIVITY: 0.8}),
        telemetry=api.TelemetrySummary(
            total=api.Delivery(sent=50, stored=stored, duplicated=duplicated), devices={}, accuracy=points,
            inference=[view], latency={lines.ACTIVITY: {"p50_ms": 1.0, "p99_ms": 4.0}},
        ),
        events=events, began=BEGAN,
    )  # fmt: skip


def told(evidence, *, stages=STAGES):
    seen = [Seen(name=name, at=BEGAN + 1, evidence="seen") for name in stages]
    return compose(evidence, seen, seed=7, written=50, shifted=BEGAN + 20, ended=BEGAN + 100)


def test_accuracy_is_pooled_over_the_shifted_devices_only():
    report = told(make())
    assert report.accuracy.before_drift == pytest.approx(0.9)
    assert report.accuracy.under_drift == pytest.approx(0.3)
    assert report.accuracy.after_retrain == pytest.approx(0.8)
    assert report.accuracy.windows == {"before_drift": 100, "under_drift": 200, "after_retrain": 100}


def test_the_loop_closed():
    report = told(make())
    assert report.loop_closed
    assert report.missing == []
    assert report.releases[0].active_after_s == dict.fromkeys(sorted(WATCHES), pytest.approx(2.0))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_nobody_saw_leaves_it_open(stage):
    report = told(make(), stages=[name for name in STAGES if name != stage])
    assert not report.loop_closed
    assert report.missing == [stage]


def test_no_recovery_leaves_it_open():
    assert told(make(after=35)).missing == ["accuracy recovered"]


@pytest.mark.parametrize("telemetry", [{"stored": 49}, {"stored": 50, "duplicated": 1}])
def test_lost_or_doubled_telemetry_leaves_it_open(telemetry):
    assert told(make(**telemetry)).missing == ["telemetry whole"]


def test_the_alarm_is_dated_from_the_shift_and_from_the_slowest_device():
    drift = told(make()).drift
    assert drift.detected_after_s == pytest.approx(13.0)
    assert drift.score == pytest.approx(1.75)
    assert drift.devices == sorted(SHIFTED)


def test_page_and_table_show_it(tmp_path):
    report = told(make())
    html = page.render(report, picture=tmp_path / "missing.jpg")
    assert "The loop closed" in html
    assert html.count("<svg") == 4
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    console = Console(record=True, width=120)
    console.print(table.summary(report))
    assert "0.800" in console.export_text()


def test_what_people_wrote_cannot_break_the_page():
    report = msgspec.structs.replace(told(make()), scenario="<script>alert(1)</script>", devices=[CAMERA])
    assert "<script" not in page.render(report)


def test_the_record_is_json():
    decoded = msgspec.json.decode(msgspec.json.encode(told(make())))
    assert decoded["telemetry"] == {"sent": 50, "stored": 50, "lost": 0, "duplicated": 0}
    assert {"loop_closed", "devices", "rounds", "accuracy", "releases", "inference", "drift"} <= decoded.keys()
