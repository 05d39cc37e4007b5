"""Each gate: what it measures, when it is sure, and what it does without a measurement."""

import math

import pytest

from cloud.rollout.evidence import MAX_CLASSES, OTHERS, Evidence, evidence_of, together
from cloud.rollout.gates import conclude, explain, prove
from cloud.rollout.sequential import Verdict
from cloud.rollout.spec import Gates, Margin, Shadow
from shared.errors import ContractError
from shared.messages import ShadowReport
from shared.sketch import Sketch

NOT_WORSE, WORSE, OPEN = Verdict.NOT_WORSE, Verdict.WORSE, Verdict.OPEN
NONE = Gates(failures=None)
SHADOW = Shadow(least=100)


def sketch(*values):
    return Sketch(values).to_bytes()


def verdict(evidence, gates, *, wave=0):
    (proof,) = prove(evidence, gates, SHADOW, wave=wave)
    return proof


@pytest.mark.parametrize(("agreed", "expected"), [(2000, NOT_WORSE), (1950, NOT_WORSE), (1800, OPEN), (1500, WORSE)])
def test_agreement(agreed, expected):
    gates = Gates(failures=None, agreement=Margin(margin=0.1))
    proof = verdict(Evidence(inputs=2000, agreed=agreed), gates)
    assert proof.verdict is expected
    assert proof.measured == pytest.approx(agreed / 2000 - 1)


@pytest.mark.parametrize(("bins", "expected"), [({0: 2000}, NOT_WORSE), ({-8: 2000}, WORSE), ({-1: 3}, OPEN)])
def test_confidence(bins, expected):
    assert verdict(Evidence(confidence=bins), Gates(failures=None, confidence=Margin(margin=0.1))).verdict is expected


@pytest.mark.parametrize(("errors", "expected"), [(0, NOT_WORSE), (3, NOT_WORSE), (150, WORSE)])
def test_failures_halt_only_when_proven(errors, expected):
    assert verdict(Evidence(inputs=300, errors=errors), Gates()).verdict is expected


def test_latency_is_a_ratio_of_quantiles():
    gates = Gates(failures=None, latency=1.5)
    slow = Evidence(inputs=200, latency_ms=sketch(*[30.0] * 50), champion_latency_ms=sketch(*[10.0] * 50))
    assert (verdict(slow, gates).verdict, verdict(slow, gates).measured) == (WORSE, pytest.approx(3.0))
    few = Evidence(inputs=50, latency_ms=slow.latency_ms, champion_latency_ms=slow.champion_latency_ms)
    assert verdict(few, gates).verdict is OPEN
    assert verdict(Evidence(inputs=200), gates).verdict is OPEN
    fine = Evidence(inputs=200, latency_ms=slow.champion_latency_ms, champion_latency_ms=slow.champion_latency_ms)
    assert verdict(fine, gates).verdict is NOT_WORSE


def test_drift_of_what_is_predicted():
    gates = Gates(failures=None, drift=0.25)
    champion = {"sit": 500, "walk": 500}
    same = Evidence(inputs=1000, classes={"sit": 490, "walk": 510}, champion_classes=champion)
    other = Evidence(inputs=1000, classes={"sit": 900, "walk": 100}, champion_classes=champion)
    assert [verdict(each, gates).verdict for each in (same, other)] == [NOT_WORSE, WORSE]


def test_a_device_without_a_thermometer_is_not_too_hot():
    gates = Gates(failures=None, temperature_c=80.0)
    assert verdict(Evidence(inputs=500), gates).verdict is NOT_WORSE
    assert verdict(Evidence(inputs=500, temperature_c=85.0), gates).verdict is WORSE


def test_later_waves_ask_for_more_proof():
    gates = Gates(failures=None, agreement=Margin(margin=0.1))
    first, tenth = (verdict(Evidence(inputs=50, agreed=50), gates, wave=wave) for wave in (0, 9))
    assert tenth.needed > first.needed
    assert (first.not_worse, first.worse) == (tenth.not_worse, tenth.worse)


def test_all_waves_and_tests_together_spend_no_more_than_the_stated_error():
    gates = Gates(accuracy=Margin(margin=0.1), agreement=Margin(margin=0.1), error=0.04)  # and failures
    proofs = [proof for wave in range(500) for proof in prove(Evidence(inputs=1), gates, SHADOW, wave=wave)]
    spent = sum(math.exp(-proof.needed) for proof in proofs)
    assert 0.0399 < spent <= 0.04


def test_all_gates_must_pass_and_one_is_enough_to_halt():
    gates = Gates(agreement=Margin(margin=0.1), latency=1.0)
    fine = prove(Evidence(inputs=2000, agreed=2000), gates, SHADOW, wave=0)
    assert conclude(fine, inputs=2000, least=100) is OPEN  # no latency was measured
    assert conclude(fine[:2], inputs=2000, least=100) is NOT_WORSE
    assert conclude(fine[:2], inputs=99, least=100) is OPEN
    bad = prove(Evidence(inputs=2000, agreed=100), gates, SHADOW, wave=0)
    assert conclude(bad, inputs=2000, least=100) is WORSE
    assert "agreement: measured -0.95 against -0.1 over 2000 inputs: worse" in [explain(proof) for proof in bad]


def report(**changes):
    base = {"pipeline": "p", "model": "m", "release": "m-2", "champion": "m-1", "since": 0.0, "until": 1.0, "inputs": 9}
    return ShadowReport(**(base | changes))


def test_reports_add_up():
    one = evidence_of(
        report(agreed=8, confidence={0: 9}, classes={"a": 9}, latency_ms=sketch(1, 2), temperature_c=40.0)
    )
    two = evidence_of(report(agreed=7, confidence={0: 4, -3: 5}, classes={"b": 9}, latency_ms=sketch(3)))
    both = together([one, two])
    assert (both.inputs, both.agreed, both.confidence) == (18, 15, {0: 13, -3: 5})
    assert (both.classes, both.temperature_c) == ({"a": 9, "b": 9}, 40.0)
    assert Sketch.from_bytes(both.latency_ms).count == 3
    assert together([]) == Evidence()
    assert one + Evidence() == one


@pytest.mark.parametrize(
    "changes",
    [
        {"agreed": 10},
        {"inputs": -1},
        {"confidence": {30: 1}},
        {"confidence": {0: 10}},
        {"classes": {"a": -1}},
        {"latency_ms": b"no sketch"},
        {"classes": {str(n): 1 for n in range(5000)}},
        {"classes": {"a" * 81: 1}},
        {"champion_classes": {"a": 2**63}},
        {"both_right": 2**62},
    ],
)
def test_reports_that_contradict_themselves_are_refused(changes):
    with pytest.raises(ContractError):
        evidence_of(report(**changes))


def test_names_that_devices_make_up_do_not_add_up_without_end():
    found = Evidence()
    for turn in range(3):
        names = {f"{turn}-{number}": 1 for number in range(MAX_CLASSES - 1)}
        found += evidence_of(report(classes={"a": 5} | names))
    assert len(found.classes) == MAX_CLASSES
    assert (found.classes["a"], sum(found.classes.values())) == (15, 3 * (MAX_CLASSES + 4))
    assert found.classes[OTHERS] > MAX_CLASSES
