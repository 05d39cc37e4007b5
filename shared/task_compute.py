"""Where a model family computes, and in which numbers: a setting of the machine, not of the run.

A family that can compute elsewhere than on the CPU offers `on`; others compute where they always do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from shared.errors import RefusedError
from shared.task import TaskAdapter

AUTO = "auto"
CPU = "cpu"

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


class Precision(StrEnum):
    """Numbers in which training multiplies; weights, their steps and all evaluation are float32 always."""

    AUTO = "auto"
    """float32 on a CPU; on CUDA what the GPU's units for it are made for."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    """With a loss scale: its least numbers are so great that gradients vanish."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What is known of one GPU."""

    capability: tuple[int, int]
    """CUDA's compute capability: 7.5 is Turing, 8.0 Ampere, 9.0 Hopper."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What the machine's owner wants."""

    device: str = CPU
    """`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:n`."""

    precision: Precision = Precision.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What that comes to on one machine."""

    device: str = CPU
    """`cpu` or `cuda:n`."""

    precision: Precision = Precision.FLOAT32


def check_compute(compute: Compute) -> Compute:
    """Return `compute` if it can be meant.

    Raises:
        RefusedError: it names no device that there could be.
    """
    if not _DEVICE.fullmatch(compute.device):
        raise RefusedError(f"no such device: {compute.device[:40]!r}", hint="Say auto, cpu, cuda or cuda:1.")
    return compute


def choose(compute: Compute, accelerators: tuple[Accelerator, ...]) -> Place:
    """Where to compute on a machine with these GPUs.

    Raises:
        RefusedError: the machine does not have the GPU that is named. There is no silent way back to the CPU.
    """
    wanted = check_compute(compute).device
    if wanted == CPU or (wanted == AUTO and not accelerators):
        return Place(precision=Precision.FLOAT32 if compute.precision is Precision.AUTO else compute.precision)
    number = int(wanted.partition(":")[2] or 0)
    if number >= len(accelerators):
        raise RefusedError(
            f"this machine has {len(accelerators)} GPUs that torch can use, so no {wanted}",
            hint="Install the driver and a torch with CUDA, or set the device to auto or cpu.",
        )
    precision = compute.precision
    if precision is Precision.AUTO:
        precision = _best(accelerators[number])
    return Place(device=f"cuda:{number}", precision=precision)


def _best(accelerator: Accelerator) -> Precision:
    if accelerator.capability >= (8, 0):
        return Precision.BFLOAT16
    return Precision.FLOAT16 if accelerator.capability >= (7, 0) else Precision.FLOAT32


@runtime_checkable
class Placeable(Protocol):
    """A `TaskAdapter` that can compute on a GPU."""

    def on(self, compute: Compute) -> TaskAdapter:
        """The same family, computing there; what that is on this machine is looked up when it first computes."""
        ...


def placed(task: TaskAdapter, compute: Compute) -> TaskAdapter:
    """The family as the machine's owner wants it computed."""
    return task.on(compute) if isinstance(task, Placeable) else task
