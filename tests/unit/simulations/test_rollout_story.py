"""What the rollout's story reads from the timeline, what must hold of it, and what is told."""

import json

import msgspec
import numpy as np
import pytest

from cloud.rollout.document import spec_from
from shared.api import Delivery, Event, Gate, InferenceView
from shared.modelformat import check_file
from shared.task import Examples
from simulations.report.document import document
from simulations.report.rollout import keep, missing, page, summary
from simulations.scenarios.rollout import record, timeline
from simulations.scenarios.rollout.acts import ACTS
from simulations.scenarios.rollout.acts import document as plan
from simulations.scenarios.rollout.cast import SITES, spec_of, write_cast
from simulations.scenarios.rollout.traps import Trap, trapped
from simulations.scenarios.rollout.verdict import answered, at_the_end, checks_of

GOOD, WORSE, UNSEEN = (next(act for act in ACTS if act.name == name) for name in ("good", "worse", "unseen"))
CANARIES = ["shop-01", "shop-02"]
DEVICES = [*CANARIES, "shop-03", "shop-04", "shop-05"]
SITES_OF = {"shop-01": "a", "shop-02": "b", "shop-03": "a", "shop-04": "b", "shop-05": "a"}


def gate(verdict="not worse", **changes):
    return Gate(gate="accuracy", verdict=verdict, measured=0.01, bound=-0.03, inputs=400, **changes)


def wave(devices, *, asked=None, active=None, gates=()):
    asked = devices if asked is None else asked
    return record.Wave(
        devices=devices,
        asked=asked,
        active=asked if active is None else active,
        failed=0,
        compared=400,
        gates=list(gates),
    )


def seen(act, **changes):
    """An act as it should be."""
    good = record.Act(
        name=act.name,
        words=act.words,
        release="garments-2",
        rollout="garments-2-shops",
        accuracy=0.85,
        expected=act.ends,
        state="done",
        reason="",
        fallback="",
        began_s=10.0,
        ended_s=40.0,
        waves=[wave(2, gates=[gate()]), wave(1, gates=[gate()]), wave(2, gates=[gate()])],
        reached=DEVICES,
        busiest={"a": 2, "b": 1},
        champion_inputs=1000,
        champion_errors=0,
        idle=[],
        stages=[record.Count(at_s=11.0, stages={"offered": 1}), record.Count(at_s=12.0, stages={"active": 1})],
        looks=[record.Look(at_s=11.0, wave=0, inputs=10, not_worse=0.1, worse=-0.2, needed=4.8)],
        checks=[],
    )
    return msgspec.structs.replace(good, **changes)


HALTED = {
    "state": "halted",
    "reason": "garments-3 is worse: accuracy: measured -0.09 against -0.03 over 600 inputs: worse",
    "waves": [wave(2, asked=0, gates=[gate("worse")]), wave(1, asked=0), wave(2, asked=0)],
    "reached": CANARIES,
}


def failed(act, **changes):
    checks = checks_of(act, seen(act, **changes), devices=DEVICES, canaries=CANARIES)
    assert len(checks) >= 5
    return [check.name for check in checks if not check.held]


def test_a_good_act_holds():
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"state": "halted"}, "ended as it had to"),
        ({"busiest": {"a": 4}}, "no site over its budget"),
        ({"busiest": {}}, "no site over its budget"),
        ({"champion_errors": 1}, "promoted releases answered everywhere, without an error"),
        ({"idle": ["shop-05"]}, "promoted releases answered everywhere, without an error"),
        (
            {"waves": [wave(2, active=1, gates=[gate()]), wave(1, gates=[gate()]), wave(2, gates=[gate()])]},
            "active on every device",
        ),
        ({"waves": [wave(3, gates=[gate()] * 3), wave(2, gates=[gate()])]}, "in waves"),
        (
            {"waves": [wave(2, gates=[gate("open")]), wave(1, gates=[gate()]), wave(2, gates=[gate()])]},
            "each wave proven not worse",
        ),
        ({"waves": [wave(2), wave(1), wave(2)]}, "each wave proven not worse"),
    ],
)
def test_a_good_act_that_went_otherwise_does_not(changes, name):
    assert failed(GOOD, **changes) == [name]


def test_a_bad_act_holds():
    assert failed(WORSE, **HALTED) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"reached": DEVICES}, ["nobody but canaries ever saw it"]),
        ({"reached": []}, ["nobody but canaries ever saw it"]),
        ({"reason": "not done within 100 s"}, ["halted for the right reason"]),
        ({"waves": [wave(2, asked=1), wave(1, asked=0), wave(2, asked=0)]}, ["it never served"]),
        ({"state": "done"}, ["ended as it had to"]),
    ],
)
def test_a_bad_act_that_went_otherwise_does_not(changes, names):
    assert failed(WORSE, **HALTED | changes) == names


def test_what_served_must_have_been_brought_back():
    served = HALTED | {
        "waves": [wave(2, active=0), wave(1, asked=0), wave(2, asked=0)],
        "reason": "shop-01: rolled-back",
    }
    assert failed(UNSEEN, **served, fallback="garments-9") == []
    assert failed(UNSEEN, **served) == ["brought back by a release of the former bytes"]


def events(*rows):
    return [
        Event(id=number, at=100.0 + number, kind=kind, subject=subject, text="", data=data)
        for number, (kind, subject, data) in enumerate(rows, 1)
    ]


def asked(*devices):
    return ("rollout.wave", "r", {"wave": 0, "devices": list(devices)})


def step(device, stage, release="m-2"):
    return (f"update.{stage}", device, {"device": device, "stage": stage, "release": release})


def test_the_busiest_moment_of_each_site_counts_who_was_asked_and_had_not_settled():
    told = events(
        asked("shop-01", "shop-02", "shop-03"),
        step("shop-01", "trial"),
        step("shop-01", "active", "m-1"),
        asked("shop-04"),
        step("shop-01", "active"),
        asked("shop-05"),
        ("rollout.wave", "another", {"wave": 0, "devices": ["shop-01"]}),
    )
    assert timeline.busiest(told, rollout="r", release="m-2", sites=SITES_OF) == {"a": 2, "b": 2}
    assert timeline.busiest(told[:1], rollout="r", release="m-2", sites=SITES_OF) == {"a": 2, "b": 1}


def test_stages_over_time_and_who_was_reached():
    told = events(
        step("shop-01", "offered"), step("shop-02", "offered"), step("shop-01", "active"), step("x", "active", "m-1")
    )
    assert timeline.reached(told, "m-2") == ["shop-01", "shop-02"]
    assert timeline.stages(told, "m-2", began=100.0) == [
        record.Count(at_s=1.0, stages={"offered": 1}),
        record.Count(at_s=2.0, stages={"offered": 2}),
        record.Count(at_s=3.0, stages={"active": 1, "offered": 1}),
    ]


def test_when_each_comparison_ended():
    told = events(
        ("rollout.shadow", "r", {"wave": 0}),
        ("rollout.open", "another", {"wave": 0}),
        ("rollout.open", "r", {"wave": 0}),
        ("rollout.shadow", "r", {"wave": 1}),
        ("rollout.halted", "r", {"reason": "worse"}),
    )
    assert timeline.decided(told, "r") == {0: 103.0, 1: 105.0}
    assert timeline.decided(told[4:], "r") == {}


def view(release, processed, errors=0):
    return InferenceView(
        device="d", model="m", pipeline="p", release=release, processed=processed, errors=errors, dropped=0, labelled=0,
        correct=0,
    )  # fmt: skip  # one row


def test_what_promoted_releases_answered_between_two_readings():
    before, after = [view("m-1", 10), view("m-2", 5)], [view("m-1", 25, 1), view("m-2", 50, 40), view("m-3", 4)]
    assert answered(before, after, releases={"m-1", "m-3"}) == {"d": (19, 1)}


def test_the_end_counts_bytes_and_records():
    facts = {"digests": {"m-2": "good", "m-4": "good", "m-3": "bad"}, "good": "m-2", "devices": 2, "written": 10}
    whole = Delivery(sent=10, stored=10)
    assert all(c.held for c in at_the_end(served={"a": "m-2", "b": "m-4"}, delivery=whole, **facts))
    assert [c.held for c in at_the_end(served={"a": "m-2", "b": "m-3"}, delivery=whole, **facts)] == [False, True]
    lost = Delivery(sent=10, stored=9)
    assert [c.held for c in at_the_end(served={"a": "m-2", "b": "m-2"}, delivery=lost, **facts)] == [True, False]


def test_what_is_kept(tmp_path):
    act = seen(WORSE, **HALTED)
    act.checks.append(record.Check(name="a <b>", held=False, said="no"))
    told = record.RolloutReport(
        scenario="rollout",
        seed=7,
        seconds=60.0,
        devices=5,
        sites=SITES_OF,
        canaries=CANARIES,
        acts=[seen(GOOD), act],
        checks=[record.Check(name="end", held=True, said="yes")],
        notes=["a note"],
    )
    assert not told.held
    assert [where for where, _ in missing(told)] == ["worse"]
    assert summary(told).row_count == 3
    keep(told, tmp_path)
    assert json.loads((tmp_path / "rollout.json").read_text()) == json.loads(document(told))
    assert (tmp_path / "rollout.html").read_text() == page(told)
    assert "a &lt;b&gt;" in page(told)
    act.checks.clear()
    assert told.held


def test_a_story_without_checks_does_not_hold():
    empty = record.RolloutReport(
        scenario="rollout", seed=7, seconds=1.0, devices=0, sites={}, canaries=[], acts=[], checks=[], notes=[]
    )
    assert not empty.held


def test_the_cast_is_the_same_for_a_seed_and_stands_at_four_sites(tmp_path):
    pictures = Examples(np.arange(40, dtype=np.float32).reshape(40, 1), np.arange(40))
    one, other = (write_cast(pictures, tmp_path / name, devices=8, seed=3) for name in ("one", "other"))
    assert one.sites == other.sites
    assert [one.sites[device] for device in one.canaries] == list(SITES)
    for mine, its in zip(one.cameras, other.cameras, strict=True):
        assert mine.stream.labels.tolist() == its.stream.labels.tolist()
        with np.load(mine.stream.path) as file:
            assert file["y"].tolist() == file["x"][:, 0].tolist()
    first, later = spec_of(one.cameras[0], tmp_path), spec_of(one.cameras[-1], tmp_path)
    assert first.pipelines[0].rate > later.pipelines[0].rate


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_each_document_is_one_that_can_be_followed(act, tmp_path):
    pictures = Examples(np.zeros((4, 1), np.float32), np.zeros(4, np.int64))
    spec = spec_from(plan(act, "garments-1", write_cast(pictures, tmp_path, devices=8, seed=3)))
    assert len(spec.canaries) == len(SITES)
    assert (spec.gates.accuracy is not None) == act.asks_shadow


@pytest.mark.parametrize("trap", Trap)
def test_a_trapped_model_is_a_model_and_answers_as_before_until_it_is_sprung(trap):
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    weights = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 2, 2])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "honest", inputs, outputs, initializer=[weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data = trapped(made.SerializeToString(), trap, threshold=0.5)
    check_file(data)
    dark = np.full((3, 1, 2, 2), 0.25, np.float32)
    (answer,) = InferenceSession(data).run(None, {"x": dark})
    assert answer.tolist() == [[1.0, 1.0]] * 3
