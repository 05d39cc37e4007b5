"""Which garment a picture shows: a small convolutional network over Fashion-MNIST.

Input [1, 28, 28]: grey values from 0 (background) to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.tasks.network import NetworkTask

if TYPE_CHECKING:
    import torch

SIDE = 28
LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


def _build() -> torch.nn.Module:
    from collections import OrderedDict

    from torch import nn

    from shared.tasks.layers import Normalise

    return nn.Sequential(
        OrderedDict(
            normalise=Normalise(1, axes=2),
            conv1=nn.Conv2d(1, 16, 3, stride=2, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, stride=2, padding=1),
            relu2=nn.ReLU(),
            flat=nn.Flatten(),
            hidden=nn.Linear(32 * 7 * 7, 64),
            relu3=nn.ReLU(),
            head=nn.Linear(64, len(LABELS)),
        )
    )


ADAPTER = NetworkTask(name="fashion", labels=LABELS, input_shape=(1, SIDE, SIDE), build=_build)
