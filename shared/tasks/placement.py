"""Torch on the device that was chosen: modules, batches, mixed precision. Importing this module imports torch.

On a CPU in float32 nothing here changes a bit: tensors are where they are wanted, and no arithmetic is added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from shared.task import Examples
from shared.task_compute import CPU, Accelerator, Compute, Place, Precision, choose

TYPES = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}

FIRST_SCALE = 2.0**16
GROWTH_STEPS = 2000
"""As in torch's `GradScaler` (Micikevicius et al. 2018, arXiv:1710.03740): doubled after so many good steps, halved at
a bad one."""


@lru_cache(maxsize=1)
def accelerators() -> tuple[Accelerator, ...]:
    """The GPUs that this torch can compute on."""
    if not torch.cuda.is_available():
        return ()
    return tuple(
        Accelerator(torch.cuda.get_device_capability(number), torch.cuda.get_device_name(number))
        for number in range(torch.cuda.device_count())
    )


def settle(compute: Compute) -> Place:
    """Where this machine computes; prepares torch for repeatable results there.

    Raises:
        RefusedError: the machine does not have the GPU that is named.
    """
    place = choose(compute, accelerators() if compute.device != CPU else ())
    if place.device != CPU:
        # without a workspace of fixed size cuBLAS sums in another order from run to run, and torch refuses to use it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return place


def batches_at(
    data: Examples, order: Iterable[NDArray[np.int64]], device: str
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor, torch.Tensor]]:
    """Each batch's rows, inputs and labels on `device`; the next one is on its way while one is computed with."""
    ahead: list[tuple[NDArray[np.int64], torch.Tensor, torch.Tensor]] = []
    for chosen in order:
        x, y = torch.from_numpy(np.ascontiguousarray(data.x[chosen])), torch.from_numpy(data.y[chosen])
        ahead.append((chosen, moved(x, device), moved(y, device)))
        if len(ahead) > 1:
            yield ahead.pop(0)
    yield from ahead


def moved(values: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on `device`: copied out of pinned memory, so that nobody waits for it here."""
    if device == CPU:
        return values
    source = values.pin_memory() if device.startswith("cuda") else values
    return source.to(device, non_blocking=True)


def cast(place: Place) -> AbstractContextManager[object]:
    """Multiply in the place's numbers within this context."""
    if place.precision not in TYPES:
        return nullcontext()
    context: AbstractContextManager[object] = torch.autocast(
        place.device.partition(":")[0], dtype=TYPES[place.precision]
    )
    return context


class LossScale:
    """Keeps small gradients from vanishing in float16; 1, and without any effect, in all other numbers.

    Torch's own needs an optimizer, and building one imports torch's compiler.
    """

    def __init__(self, precision: Precision) -> None:
        self._scales = precision is Precision.FLOAT16
        self.value = FIRST_SCALE if self._scales else 1.0
        self._good = 0

    def up(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to take gradients of."""
        return loss * self.value if self._scales else loss

    def down(self, gradients: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
        """The gradients in their own size; None when one of them overflowed, and the step must be left out."""
        if not self._scales:
            return tuple(gradients)
        true = tuple(gradient / self.value for gradient in gradients)
        if not all(bool(torch.isfinite(gradient).all()) for gradient in true):
            self.value, self._good = self.value / 2.0, 0
            return None
        self._good += 1
        if self._good % GROWTH_STEPS == 0:
            self.value *= 2.0
        return true
