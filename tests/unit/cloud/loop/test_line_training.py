"""A model line's terms of training: checked when it is applied, followed by every run of it."""

import tomllib

import pytest

from cloud.loop.orders import apply_line
from cloud.loop.run_orders import spec_of
from cloud.models.line import document_of, line_from
from cloud.training.optimisers import Adam
from cloud.training.rules import Median
from shared.errors import ContractError, HinterlandError, RefusedError
from shared.tasks.compression import Kind
from tests.unit.cloud.loop.conftest import LINE

TRAINING = """
fraction = 0.9
local_parts = ["head."]
rule = {type = "median"}
strategy = {type = "adam"}
compression = {kind = "int8"}
pace = {quorum = 0.5}
purpose = "care"
"""


def apply(stations, training):
    with stations.database.write() as connection:
        return apply_line(connection, "activity", LINE | {"training": training}, at=1.0, by="test")


def test_a_run_follows_the_terms_of_its_line(stations):
    apply(stations, tomllib.loads(TRAINING))
    spec = spec_of(stations.order())
    assert isinstance(spec.rule, Median)
    assert isinstance(spec.strategy, Adam)
    assert spec.compression.kind is Kind.INT8
    assert (spec.fraction, spec.local_parts, spec.purpose) == (0.9, ("head.",), "care")
    assert spec.pace.quorum == 0.5


def test_an_order_may_say_otherwise(stations):
    apply(stations, tomllib.loads(TRAINING))
    spec = spec_of(stations.order(overrides={"rule": {"type": "mean"}, "fraction": 1.0}))
    assert (type(spec.rule).__name__, spec.fraction) == ("Mean", 1.0)
    assert spec.compression.kind is Kind.INT8


def test_a_line_comes_back_as_it_was_said():
    line = line_from(LINE | {"training": tomllib.loads(TRAINING)})
    assert line_from(document_of(line)) == line


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"privacy": {"least": 3}, "rule": {"type": "median"}}, "exclude each other"),
        ({"privacy": {"least": 3, "spent": [{"run": "r", "round": 1, "release": "x", "multiplier": 9.0}]}}, "spent"),
        ({"privacy": {"least": 3}, "compression": {"kind": "int8"}}, "single updates"),
        ({"fraction": 0.0}, "fraction"),
        ({"rule": {"type": "trimmed-mean", "share": 0.5}}, "trimmed mean"),
        ({"rule": {"type": "krum", "attackers": 1_000_000}}, "too few devices"),
        ({"ruel": {"type": "median"}}, "'ruel'"),
        ({"rule": {"type": "vote"}}, "no model line"),
    ],
)
def test_terms_that_do_not_go_together_are_refused_when_they_are_applied(stations, training, says):
    with pytest.raises((ContractError, RefusedError), match=says):
        apply(stations, training)


def test_robust_rules_with_many_attackers_ask_for_as_many_devices_when_a_run_is_ordered(stations):
    apply(stations, {"rule": {"type": "krum", "attackers": 2}})  # seven devices would do, three are there
    with pytest.raises(HinterlandError, match="too few devices"):
        stations.order()


@pytest.mark.parametrize(
    "training", [{"rule": {"type": "median"}}, {"compression": {"kind": "int8"}}, {"privacy": {"least": 3}}]
)
def test_a_line_whose_trees_would_be_averaged_is_refused_when_it_is_applied_or_ordered(stations, training):
    trees = LINE | {"task": "activity-trees"}
    with stations.database.write() as connection:
        with pytest.raises(RefusedError, match="trees are added, not averaged"):
            apply_line(connection, "activity", trees | {"training": training}, at=1.0, by="test")
        apply_line(connection, "activity", trees, at=1.0, by="test")
    with pytest.raises(RefusedError, match="trees are added, not averaged"):
        stations.order(overrides=training)


def test_a_line_of_a_task_that_is_not_installed_is_refused(stations):
    with stations.database.write() as connection, pytest.raises(RefusedError, match="no task 'poetry'"):
        apply_line(connection, "activity", LINE | {"task": "poetry"}, at=1.0, by="test")
