"""Is a bearing worn? A model of your own: two layers over windows of 64 samples of three vibration axes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from shared.tasks.network import NetworkTask

if TYPE_CHECKING:
    import torch

AXES, SAMPLES = 3, 64
LABELS = ("healthy", "worn", "broken")


def build() -> torch.nn.Module:
    """The network; it must begin with `Normalise`, which federated statistics fill."""
    from torch import nn

    from shared.tasks.layers import MeanOver, Normalise

    return nn.Sequential(
        OrderedDict(
            normalise=Normalise(AXES, axes=1),
            conv=nn.Conv1d(AXES, 16, 7, stride=2, padding=3),
            relu=nn.ReLU(),
            pool=MeanOver(2),
            head=nn.Linear(16, len(LABELS)),
        )
    )


ADAPTER = NetworkTask(name="bearing", labels=LABELS, input_shape=(AXES, SAMPLES), build=build)
