"""A rollout's document: what is read, and what is refused with which words."""

import re
from pathlib import Path

import pytest
import yaml

from cloud.rollout.document import document_of, spec_from
from cloud.rollout.spec import Abort, Budget, Gates, Growth, Margin, Mode, Shadow, Spec, Target, WaveSize
from shared.errors import ContractError, RefusedError

WHOLE = """
kind: rollout
release: activity-4
fleet: wards
target: {labels: {line: "3", site: "*"}}
waves: [{count: 1}, {percent: 10}, {percent: 100}]
windows: [{days: [sat, sun], start: "22:00", end: "05:00", zone: Europe/Berlin}]
budget: {devices: 2, percent: 25}
shadow: {mode: shadow, least: 200, share: 0.5}
gates: {accuracy: {margin: 0.03}, latency: 1.5, error: 0.05}
abort: {failed: 0.05}
approvals: 2
reason: winter model
"""


def test_a_whole_document():
    spec = spec_from(yaml.safe_load(WHOLE))
    assert spec.target == Target(labels={"line": "3", "site": "*"})
    assert spec.waves == (WaveSize(count=1), WaveSize(percent=10), WaveSize(percent=100))
    assert (spec.budget, spec.gates.accuracy) == (Budget(devices=2, percent=25), Margin(margin=0.03))
    assert spec_from(document_of(spec)) == spec


DOCUMENT = (Path(__file__).parents[4] / "docs" / "rollouts.md").read_text()


def test_documents_parse_as_they_are_shown():
    shown = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    specs = [spec_from(yaml.safe_load(text)) for text in shown]
    assert specs[0] == Spec(release="activity-4")
    assert specs[1].gates.accuracy == Margin(margin=0.03)


@pytest.mark.parametrize(("kind", "prefix"), [(Spec, ""), (Shadow, "shadow."), (Gates, "gates."), (Abort, "abort.")])
def test_every_field_is_explained(kind, prefix):
    groups = {"shadow", "gates", "abort", "target"}
    fields = [f"`{prefix}{field}`" for field in kind.__struct_fields__ if field not in groups]
    assert [field for field in fields if field not in DOCUMENT] == []


def test_the_least_document():
    assert spec_from({"release": "activity-4"}) == Spec(release="activity-4")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"realease": "x"}, "realease"),
        ({"shadow": {"mode": "maybe"}}, "shadow.mode"),
        ({"waves": [{"count": "many"}]}, "waves"),
        ({"kind": "banana"}, "kind 'banana'"),
        ({"release": "../x"}, "x"),
        ({"canaries": ["a b"]}, "a b"),
    ],
)
def test_what_is_no_document(changes, words):
    with pytest.raises(ContractError, match=words):
        spec_from({"release": "activity-4"} | changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"waves": [{"count": 1}], "growth": {"first": 1}}, "waves"),
        ({"waves": [{"count": 1, "percent": 5}]}, "waves"),
        ({"waves": [{}]}, "waves"),
        ({"waves": [{"percent": 50}, {"percent": 20}]}, "waves"),
        ({"waves": [{"percent": 101}]}, "waves"),
        ({"growth": {"first": 0}}, "growth"),
        ({"growth": {"factor": 0.5}}, "growth"),
        ({"soak_s": -1}, "soak_s"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"finish_within_s": 0}, "finish_within_s"),
        ({"budget": {"percent": 200}}, "budget"),
        ({"shadow": {"share": 0}}, "shadow.share"),
        ({"shadow": {"mode": "split"}}, "shadow.split"),
        ({"shadow": {"split": 0.5}}, "shadow.split"),
        ({"shadow": {"least": 0}}, "shadow.least"),
        ({"gates": {"accuracy": {"margin": 0}}}, "gates.accuracy"),
        ({"gates": {"error": 0.6}}, "gates.error"),
        ({"gates": {"latency": -1}}, "gates.latency"),
        ({"abort": {"failed": 2}}, "abort.failed"),
        ({"approvals": 3}, "approvals"),
        ({"windows": [{"zone": "nowhere"}]}, "time zone"),
    ],
)
def test_numbers_that_make_no_sense(changes, field):
    with pytest.raises(RefusedError, match=field.replace(".", r"\.")) as refused:
        spec_from({"release": "activity-4"} | changes)
    assert refused.value.hint


def test_a_split_says_its_share():
    spec = spec_from({"release": "activity-4", "shadow": {"mode": "split", "split": 0.1}})
    assert (spec.shadow.mode, spec.shadow.split) == (Mode.SPLIT, 0.1)
    assert spec_from({"release": "a-1", "growth": {}}).growth == Growth()
