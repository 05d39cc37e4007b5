"""Which garment a picture shows: softmax regression over Fashion-MNIST, for crowds of very small clients.

Input [1, 28, 28]: grey values from 0 (background) to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.tasks.fashion import LABELS, SIDE
from shared.tasks.network import NetworkTask

if TYPE_CHECKING:
    import torch


def _build() -> torch.nn.Module:
    from collections import OrderedDict

    from torch import nn

    from shared.tasks.layers import Normalise

    return nn.Sequential(
        OrderedDict(normalise=Normalise(1, axes=2), flat=nn.Flatten(), head=nn.Linear(SIDE * SIDE, len(LABELS)))
    )


ADAPTER = NetworkTask(name="fashion-linear", labels=LABELS, input_shape=(1, SIDE, SIDE), build=_build)
