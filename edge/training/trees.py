"""What a device sends of a model that grows: its own tree, as Flower's XGBoost strategies expect it."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from shared import federation as fed
from shared.task import Trained
from shared.task_trees import GrowsTrees


def tree_answer(task: GrowsTrees, trained: Trained) -> RecordDict:
    """The newest tree of what was trained, and what it was trained on."""
    booster = np.frombuffer(task.newest(trained.weights), dtype=np.uint8)
    return RecordDict(
        {
            fed.ARRAYS: ArrayRecord({fed.BOOSTER: Array(booster)}),
            fed.METRICS: MetricRecord({fed.EXAMPLES: trained.examples, fed.LOSS: trained.loss}),
        }
    )
