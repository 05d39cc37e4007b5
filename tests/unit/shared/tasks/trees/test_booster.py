"""XGBoost's JSON against tables: what is written is read back, XGBoost agrees, and hostile files are refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ContractError
from shared.tasks.trees.booster import BYTES_A_TREE, read, write
from shared.tasks.trees.tables import FEATURE, LEAF, MOST_TREES, THRESHOLD, Shape

SHAPE = Shape(features=5, classes=3, depth=3)


def drawn(source, trees):
    """Trees of which some branches end early."""
    tables = SHAPE.empty(trees)
    tables[FEATURE][:] = source.integers(0, SHAPE.features, tables[FEATURE].shape)
    tables[THRESHOLD][:] = source.normal(size=tables[THRESHOLD].shape)
    tables[LEAF][:] = source.normal(size=tables[LEAF].shape)
    for tree in range(trees):
        for first in range(0, SHAPE.leaves, 2):
            if source.random() < 0.5:
                tables[LEAF][tree, first + 1] = tables[LEAF][tree, first]
    return tables


def changed(path, value):
    """The file of one tree with one of its lists or numbers replaced."""
    file = json.loads(write(drawn(np.random.default_rng(0), 1), SHAPE))
    tree = file["learner"]["gradient_booster"]["model"]["trees"][0]
    tree[path] = value(tree[path]) if callable(value) else value
    return json.dumps(file).encode()


def first_is(value):
    return lambda old: [value, *old[1:]]


@given(st.integers(0, 1 << 32), st.integers(0, 6))
def test_what_is_written_is_read_back(seed, trees):
    source = np.random.default_rng(seed)
    tables = drawn(source, trees)
    found = read(write(tables, SHAPE), SHAPE, trees=trees, greatest=10.0)
    x = source.normal(size=(40, SHAPE.features)).astype(np.float32)
    assert (SHAPE.logits(found, x) == SHAPE.logits(tables, x)).all()
    assert write(found, SHAPE) == write(tables, SHAPE)


def test_xgboost_reads_it_and_says_the_same_also_at_the_thresholds():
    xgboost = pytest.importorskip("xgboost")
    source = np.random.default_rng(4)
    tables = drawn(source, 20)
    model = xgboost.Booster()
    model.load_model(bytearray(write(tables, SHAPE)))
    x = source.choice(tables[THRESHOLD].reshape(-1), size=(200, SHAPE.features))
    said = model.predict(xgboost.DMatrix(x, nthread=1), output_margin=True)
    assert np.abs(said - SHAPE.logits(tables, x)).max() < 1e-5


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("left_children", first_is(0)),  # its own child: a way without an end
        ("left_children", first_is(10**9)),
        ("left_children", first_is(-2)),
        ("left_children", first_is(2)),  # as the right one: a node with two parents
        ("left_children", lambda old: old[:-1]),
        ("left_children", lambda old: [-1] * len(old)),  # nodes that nothing leads to
        ("right_children", lambda old: [*old[:-1], 10**6]),
        ("right_children", lambda old: [*old[:-1], -1]),
        ("split_indices", first_is(SHAPE.features)),
        ("split_indices", first_is(-1)),
        ("split_indices", first_is(1 << 70)),
        ("split_conditions", first_is(1e39)),
        ("split_conditions", first_is("1")),
        ("leaf_weights", first_is(1e39)),
        ("leaf_weights", first_is(-10.5)),
        ("leaf_weights", lambda old: old[:-1]),
        ("leaf_weights", []),
        ("split_type", first_is(1)),
        ("left_children", []),
    ],
)
def test_a_tree_that_is_none_is_refused(path, value):
    with pytest.raises(ContractError):
        read(changed(path, value), SHAPE, trees=1, greatest=10.0)


def test_the_honest_control_is_taken():
    assert SHAPE.check(read(changed("id", 7), SHAPE, trees=1, greatest=10.0)) == 1


def test_a_chain_that_is_too_deep_is_refused():
    left, right = [], []
    for depth in range(5):  # a node and its right leaf, five times
        left += [2 * depth + 2, -1] if depth < 4 else [-1, -1]
        right += [2 * depth + 1, 0] if depth < 4 else [0, 0]
    nodes = len(left)
    tree = {
        "left_children": left[:9], "right_children": right[:9], "split_indices": [0] * 9, "split_conditions": [0.0] * 9,
        "leaf_weights": [0.1] * 3,
    }  # fmt: skip
    assert nodes == 10
    file = {"learner": {"gradient_booster": {"model": {"trees": [tree]}}}}
    with pytest.raises(ContractError, match="too deep"):
        read(json.dumps(file).encode(), SHAPE, trees=1, greatest=1.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[" * 100_000, b'{"learner": 1}', b"NaN", b" " * (BYTES_A_TREE + 1)],
)
def test_bytes_that_are_no_booster_are_refused(data):
    with pytest.raises(ContractError):
        read(data, SHAPE, trees=1, greatest=1.0)


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_trees_is_refused(count):
    with pytest.raises(ContractError):
        read(write(drawn(np.random.default_rng(0), count), SHAPE), SHAPE, trees=1, greatest=10.0)


def test_a_model_grows_only_so_far():
    most = SHAPE.empty(MOST_TREES)
    assert SHAPE.check(SHAPE.joined(most, SHAPE.empty())) == MOST_TREES
    with pytest.raises(ContractError, match="more than"):
        SHAPE.joined(most, SHAPE.empty(1))


@pytest.mark.parametrize("odd", [SHAPE.features, -1, 0.5, np.nan])
def test_tables_that_ask_for_no_feature_are_refused(odd):
    tables = SHAPE.empty(2)
    tables[FEATURE][1, 3] = odd
    with pytest.raises(ContractError):
        SHAPE.check(tables)
