"""Which shoulder exercise a wrist is doing, by boosted trees over window statistics (`shared.tasks.activity`)."""

from __future__ import annotations

from shared.tasks.activity import CHANNELS, LABELS, WINDOW
from shared.tasks.trees.task import TreesTask

ADAPTER = TreesTask(name="activity-trees", labels=LABELS, input_shape=(CHANNELS, WINDOW))
