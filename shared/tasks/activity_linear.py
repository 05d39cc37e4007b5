"""Which shoulder exercise a wrist is doing, by linear models over window statistics (`shared.tasks.activity`)."""

from __future__ import annotations

from shared.tasks.activity import CHANNELS, LABELS, WINDOW
from shared.tasks.linear import LinearTask

ADAPTER = LinearTask(name="activity-linear", labels=LABELS, input_shape=(CHANNELS, WINDOW))
