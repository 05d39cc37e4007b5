"""Trees in the JSON of XGBoost's models (format of version 3.2, `doc/model.schema`), read as if an attacker wrote it.

Nothing of what was read goes on: the tables of `shared.tasks.trees.tables` do, and `write` makes fresh JSON of them.
XGBoost itself never reads what came over a wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Weights
from shared.tasks.trees.tables import FEATURE, LEAF, THRESHOLD, Shape

VERSION = (3, 2, 0)
"""Of XGBoost: the first whose trees hold `leaf_weights`, and the newest for Python 3.11."""

BYTES_A_TREE = 64 << 10
"""A whole tree of depth 6 with ten classes is 40 kB in this form."""


class _Tree(msgspec.Struct, frozen=True, kw_only=True):
    left_children: list[int]
    right_children: list[int]
    """Of a leaf, its row in `leaf_weights`."""

    split_indices: list[int]
    split_conditions: list[float]
    leaf_weights: list[float]
    """Row after row, a number a class."""

    split_type: list[int] = []
    """0 for `value < condition`; categories are another question."""


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    trees: list[_Tree]


class _Booster(msgspec.Struct, frozen=True, kw_only=True):
    model: _Model


class _Learner(msgspec.Struct, frozen=True, kw_only=True):
    gradient_booster: _Booster


class _File(msgspec.Struct, frozen=True, kw_only=True):
    learner: _Learner


_decoder = msgspec.json.Decoder(_File)


def read(data: bytes, shape: Shape, *, trees: int, greatest: float) -> Weights:
    """Return the trees of a booster as tables.

    Args:
        data: JSON; nothing about it is believed.
        shape: what its trees must be.
        trees: how many it must hold.
        greatest: the largest magnitude of a leaf.

    Raises:
        ContractError: (1) more bytes than so many trees need, (2) another form, (3) another number of trees, (4) lists
            of unlike lengths, (5) a number that is not finite or a leaf beyond `greatest`, (6) a feature that there is
            not, (7) nodes that are no tree, or one that is too deep.
    """
    if len(data) > BYTES_A_TREE * max(trees, 1):  # (1)
        raise ContractError(f"a booster of {len(data)} bytes is more than {trees} trees need")
    try:
        found = _decoder.decode(data).learner.gradient_booster.model.trees  # (2)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no booster: {error}"[:300]) from error
    if len(found) != trees:  # (3)
        raise ContractError(f"a booster of {len(found)} trees, not {trees}")
    tables = shape.empty(trees)
    for number, tree in enumerate(found):
        _fill(_Checked(tree, shape, greatest), {name: values[number] for name, values in tables.items()})
    return tables


class _Checked:
    """One tree's lists as arrays, after (4), (5) and (6)."""

    def __init__(self, tree: _Tree, shape: Shape, greatest: float) -> None:
        count = len(tree.left_children)
        lists = (tree.right_children, tree.split_indices, tree.split_conditions)
        leaves, odd = divmod(len(tree.leaf_weights), shape.classes)
        if not 1 <= count <= 2 * shape.leaves - 1 or odd or any(len(each) != count for each in lists):  # (4)
            raise ContractError(f"a tree of {count} nodes has lists of other lengths")
        if any(tree.split_type):
            raise ContractError("a tree asks for categories")
        self.left, self.right = tree.left_children, tree.right_children
        self.feature = tree.split_indices
        self.threshold = _finite(tree.split_conditions, "threshold")
        self.leaf = _finite(tree.leaf_weights, "leaf").reshape(leaves, shape.classes)
        if float(np.abs(self.leaf).max(initial=0.0)) > greatest:  # (5)
            raise ContractError(f"a leaf of {float(np.abs(self.leaf).max()):.3g} is beyond {greatest:.3g}")
        if any(not 0 <= feature < shape.features for feature in self.feature):  # (6)
            raise ContractError(f"a tree asks for a feature outside 0 to {shape.features - 1}")


def _finite(values: Sequence[float], what: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        numbers = np.array(values, dtype=np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():  # (5)
        raise ContractError(f"a {what} is not finite")
    return numbers


def _fill(tree: _Checked, table: Mapping[str, NDArray[np.float32]]) -> None:
    """Follow the tree from its root, and write what is met where a whole tree has it; (7)."""
    nodes = len(table[FEATURE])
    waiting, met = [(0, 0)], 0
    while waiting:
        node, at = waiting.pop()
        met += 1
        left, right = tree.left[node], tree.right[node]
        if left == -1:
            if not 0 <= right < len(tree.leaf):
                raise ContractError("a leaf has no weights")
            first, last = _leaves_below(at, nodes)
            table[LEAF][first:last] = tree.leaf[right]
            continue
        # children come after their parents, so that no way leads back
        if at >= nodes or not node < min(left, right) or max(left, right) >= len(tree.left) or left == right:
            raise ContractError("nodes are no tree, or one that is too deep")
        table[FEATURE][at], table[THRESHOLD][at] = tree.feature[node], tree.threshold[node]
        waiting += [(left, 2 * at + 1), (right, 2 * at + 2)]
    if met != len(tree.left):
        raise ContractError("a tree has nodes that nothing leads to, or that two lead to")


def _leaves_below(at: int, nodes: int) -> tuple[int, int]:
    """The leaves below a place of a whole tree with so many nodes: first, and one after the last."""
    first = last = at
    while first < nodes:
        first, last = 2 * first + 1, 2 * last + 2
    return first - nodes, last - nodes + 1


def write(weights: Mapping[str, NDArray[np.float32]], shape: Shape) -> bytes:
    """Trees as a booster that XGBoost reads; missing values go right, as in the tables.

    Raises:
        ContractError: these are no trees of this shape.
    """
    trees = [
        _node_lists({name: values[n] for name, values in weights.items()}, shape, n)
        for n in range(shape.check(weights))
    ]
    zeros = ",".join(["0"] * shape.classes)
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {
            "model": {
                "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                "iteration_indptr": list(range(len(trees) + 1)),
                "tree_info": [0] * len(trees),
                "trees": trees,
            },
            "name": "gbtree",
        },
        "learner_model_param": {
            "base_score": f"[{zeros}]",
            "boost_from_average": "0",
            "num_class": str(shape.classes),
            "num_feature": str(shape.features),
            "num_target": "1",
        },
        "objective": {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": str(shape.classes)}},
    }
    return msgspec.json.encode({"learner": learner, "version": VERSION})


def _node_lists(table: Mapping[str, NDArray[np.float32]], shape: Shape, number: int) -> dict[str, Any]:
    """One tree in XGBoost's lists; what was filled up is left out again."""
    left, right, parents, feature, threshold = [-1], [0], [-1], [0], [0.0]
    leaf: list[float] = []
    waiting = [(0, 0)]
    for node, at in waiting:  # which grows while it is gone through: breadth first, as XGBoost numbers nodes
        if _is_filled(table, at, shape):
            right[node] = len(leaf) // shape.classes
            leaf += _short(table[LEAF][_leaves_below(at, shape.nodes)[0]])
            continue
        feature[node] = int(table[FEATURE][at])
        threshold[node] = _short(table[THRESHOLD][at : at + 1])[0]
        left[node], right[node] = len(left), len(left) + 1
        for child in (2 * at + 1, 2 * at + 2):
            waiting.append((len(left), child))
            for each, value in ((left, -1), (right, 0), (parents, node), (feature, 0)):
                each.append(value)
            threshold.append(0.0)
    nodes = len(left)
    return {
        "base_weights": [0.0] * nodes * shape.classes,
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [0] * nodes,
        "id": number,
        "leaf_weights": leaf,
        "left_children": left,
        "loss_changes": [0.0] * nodes,
        "parents": parents,
        "right_children": right,
        "split_conditions": threshold,
        "split_indices": feature,
        "split_type": [0] * nodes,
        "sum_hessian": [0.0] * nodes,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(shape.features),
            "num_nodes": str(nodes),
            "size_leaf_vector": str(shape.classes),
        },
    }


def _is_filled(table: Mapping[str, NDArray[np.float32]], at: int, shape: Shape) -> bool:
    """Whether all leaves below say the same, and no question below has an answer that matters."""
    first, last = _leaves_below(at, shape.nodes)
    return bool((table[LEAF][first:last] == table[LEAF][first]).all())


def _short(values: NDArray[np.float32]) -> list[float]:
    """The shortest decimals that read back as the same float32."""
    return [float(str(value)) for value in values]
