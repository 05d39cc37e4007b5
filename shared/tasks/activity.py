"""Which shoulder exercise a wrist is doing: a 1-D convolutional network over inertial windows.

Input [6, 100]: two seconds at 50 Hz of acceleration (x, y, z in g) and angular velocity (x, y, z in rad/s).
No batch or group normalisation: clients differ in their statistics, and int8 kernels exist for neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.tasks.network import NetworkTask

if TYPE_CHECKING:
    import torch

CHANNELS = 6
WINDOW = 100
LABELS = ("pendulum", "abduction", "forward-elevation", "internal-rotation", "external-rotation", "trapezius", "row")


def _build() -> torch.nn.Module:
    from collections import OrderedDict

    from torch import nn

    from shared.tasks.layers import MeanOver, Normalise

    return nn.Sequential(
        OrderedDict(
            normalise=Normalise(CHANNELS, axes=1),
            conv1=nn.Conv1d(CHANNELS, 32, 7, stride=2, padding=3),
            relu1=nn.ReLU(),
            conv2=nn.Conv1d(32, 64, 5, stride=2, padding=2),
            relu2=nn.ReLU(),
            conv3=nn.Conv1d(64, 128, 5, stride=2, padding=2),
            relu3=nn.ReLU(),
            pool=MeanOver(2),
            head=nn.Linear(128, len(LABELS)),
        )
    )


ADAPTER = NetworkTask(name="activity", labels=LABELS, input_shape=(CHANNELS, WINDOW), build=_build)
