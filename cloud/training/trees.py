"""Rounds of models that grow: Flower's `FedXgbBagging` puts the round's trees together, behind our gate.

What a device sent is read into tables, and only what was read goes on, written afresh: Flower's strategy meets neither
bytes of a device nor their order of arrival. It begins each round with nothing and gets the trees in the order of
device names; what it makes of them is read like everything else and joined to the model.

A tree corrects what the model got wrong, and a round adds one of each device, so each grows at its share of the
learning rate: together they step as far as one tree over all data would.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedXgbBagging

from cloud.training.gate import Admitted, Gate, check_examples, metrics_of
from cloud.training.ledger import Checkpoint
from cloud.training.spec import RunSpec
from cloud.training.strategy import RunStrategy, _Round
from cloud.training.tree_terms import check_trees
from shared import federation as fed
from shared.errors import ContractError
from shared.task import Weights
from shared.task_trees import GrowsTrees
from shared.tasks.records import Sendable, view
from shared.tasks.weights import form


class TreesStrategy(RunStrategy, FedXgbBagging):
    """The rounds after a checkpoint, of a family that grows trees."""

    def __init__(self, spec: RunSpec, *, task: GrowsTrees, **parts: Any) -> None:
        """Prepare the rounds; `parts` are those of `RunStrategy`.

        Raises:
            RefusedError: the spec asks for what only weights that are averaged can give.
        """
        super().__init__(check_trees(spec), **parts)
        self._task = task
        self._grown: dict[str, Weights] = {}

    def _gate(self) -> Gate:
        self._grown = {}  # a round begins
        return Gate.around({}, self._spec.gate)

    def _rate(self) -> float:
        return self._spec.local.learning_rate / len(self._current().cohort)

    def _admit(self, current: _Round, content: RecordDict, *, registered: int) -> Admitted:
        examples = check_examples(metrics_of(content).get(fed.EXAMPLES), registered)
        greatest = self._task.greatest_leaf(self._rate()) * (1.0 + 1e-6)  # a rounding apart
        tree = self._task.read_trees(booster_in(content), trees=1, greatest=greatest)
        way = math.sqrt(math.fsum(float(np.square(values, dtype=np.float64).sum()) for values in tree.values()))
        return Admitted(tree, examples, way, clipped=False)

    def _keep(self, current: _Round, device: str, admitted: Admitted) -> None:
        self._grown[device] = dict(admitted.update)

    def _move(self, current: _Round) -> None:
        """Let Flower's strategy put the round's trees together, and join them to the model.

        Raises:
            ContractError: the model would have more trees than it may.
        """
        current.sent.clear()
        self.current_bst = b""
        arrays, _ = FedXgbBagging.aggregate_train(self, current.number, [self._reply(d) for d in sorted(self._grown)])
        if arrays is None:
            raise RuntimeError("a round that closed has trees")
        count = len(self._grown)
        greatest = self._task.greatest_leaf(self._spec.local.learning_rate)
        grown = self._task.read_trees(arrays[fed.BOOSTER].numpy().tobytes(), trees=count, greatest=greatest)
        weights = self._task.joined(self.state.weights, grown)
        self._sendable, self._form = Sendable(weights), form(weights)
        self._flat = self._sendable.flat
        self.state = Checkpoint(current.number, view(self._flat, self._form), {})

    def _reply(self, device: str) -> Message:
        """What Flower's strategy is told of an update: nothing that was not checked."""
        booster = np.frombuffer(self._task.write_trees(self._grown[device]), dtype=np.uint8)
        examples, loss = self._current().losses[device]
        content = RecordDict(
            {
                fed.ARRAYS: ArrayRecord({fed.BOOSTER: Array(booster)}),
                fed.METRICS: MetricRecord({fed.EXAMPLES: examples, fed.LOSS: loss}),
            }
        )
        return Message(content, dst_node_id=0, message_type=fed.TRAIN)


def booster_in(content: RecordDict) -> bytes:
    """The bytes that a device sent as its tree.

    Raises:
        ContractError: it sent something else.
    """
    record = content.get(fed.ARRAYS)
    array = record.get(fed.BOOSTER) if isinstance(record, ArrayRecord) and len(record) == 1 else None
    if array is None or array.dtype != "uint8" or array.stype != "numpy.ndarray":
        raise ContractError("the update is no tree")
    try:
        values = array.numpy()
    except (ValueError, TypeError, OSError, EOFError, KeyError, MemoryError) as error:
        raise ContractError(f"the update cannot be read: {error}"[:300]) from error
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8 or values.ndim != 1:
        raise ContractError("the update is no tree")
    return values.tobytes()
