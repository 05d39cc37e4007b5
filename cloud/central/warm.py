"""First weights from data of the company's own: the task's own training, one epoch at a time.

Each epoch begins with the weights before it and a seed of its own and ends with a checkpoint, so a job that was killed
repeats one epoch at most, and what comes out is a function of (order, data): on a CPU bit for bit.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import msgspec

from cloud.central.data import read_data
from cloud.central.orders import RESULT, WEIGHTS, WarmOrder, WarmResult, read_order, read_result
from shared.clock import Clock
from shared.durable import read_if_present, replace_atomic, write_atomic
from shared.errors import ContractError, RefusedError
from shared.ids import Digest
from shared.task import Moments, Weights
from shared.task_compute import CPU, Compute, placed
from shared.tasks import adapter as find_adapter
from shared.tasks.weights import unpack_weights, weights_digest, write_weights

DATA = "data.sha256"
"""What the first attempt read: later ones must read the same."""

CHECKPOINT = re.compile(r"epoch-(\d+)\.npz")


def make_first_weights(directory: Path, *, clock: Clock) -> WarmResult:
    """Do what is left of the order in `directory`; returns at once if it is done.

    Raises:
        ContractError: there is no order.
        RefusedError: no such task or data, or the data changed since the first attempt.
    """
    done = read_result(directory, WarmResult)
    if done is not None:
        return done
    order, began = read_order(directory, WarmOrder), clock.monotonic()
    task = placed(find_adapter(order.task), Compute(device=order.where.device, precision=order.where.precision))
    task.warm_up()
    data, digest = read_data(Path(order.data), input_shape=task.input_shape, classes=len(task.labels))
    _same_data(directory, digest)
    number, weights = _last(directory) or (0, task.initial(seed=order.seed, moments=Moments.of(data.x)))
    loss = float("nan")
    while number < order.epochs:
        number += 1
        recipe = replace(order.recipe.seeded(epoch_seed(order.seed, number)), epochs=1)
        trained = task.train(weights, data, recipe)
        weights, loss = trained.weights, trained.loss
        _keep(directory, number, weights, loss)
    score = task.evaluate(weights, data)
    replace_atomic(directory / WEIGHTS, lambda file: write_weights(file, weights))
    result = WarmResult(
        digest=weights_digest(weights),
        data_sha256=digest,
        examples=len(data),
        epochs=number,
        loss=_loss(directory, number),
        accuracy=score.correct / score.examples,
        device=computed_on(order),
        seconds=clock.monotonic() - began,
    )
    write_atomic(directory / RESULT, msgspec.json.encode(result))
    _forget(directory, below=number + 1)
    return result


def epoch_seed(seed: int, epoch: int) -> int:
    """Decides the order of an epoch's batches, 0 to 2^63 − 1."""
    digest = hashlib.sha256(f"warm\0{seed}\0{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def computed_on(order: WarmOrder) -> str:
    """Where torch computes here as ordered; families of other frameworks compute on the CPU always."""
    return where_is(order.task, Compute(device=order.where.device, precision=order.where.precision))


def where_is(task: str, compute: Compute) -> str:
    """`cpu`, or `cuda:n` with its numbers."""
    from shared.task_compute import Placeable

    if not isinstance(find_adapter(task), Placeable):
        return CPU
    from shared.tasks.placement import settle

    place = settle(compute)
    return place.device if place.device == CPU else f"{place.device} {place.precision}"


def _same_data(directory: Path, digest: Digest) -> None:
    known = read_if_present(directory / DATA)
    if known is None:
        write_atomic(directory / DATA, digest.encode())
    elif known.decode() != digest:
        raise RefusedError(
            f"the data changed while {directory.name} was under way",
            hint="Order it again: it begins with the new data.",
        )


def _keep(directory: Path, number: int, weights: Weights, loss: float) -> None:
    """Make an epoch durable; what was before it is not needed any more."""
    write_atomic(directory / f"epoch-{number:04}.loss", repr(loss).encode())
    replace_atomic(directory / f"epoch-{number:04}.npz", lambda file: write_weights(file, weights))
    _forget(directory, below=number)


def _loss(directory: Path, number: int) -> float:
    return float((directory / f"epoch-{number:04}.loss").read_text())


def _last(directory: Path) -> tuple[int, Weights] | None:
    """The newest epoch that can be read; one whose file is broken is trained again."""
    for number in sorted(_numbers(directory), reverse=True):
        try:
            return number, unpack_weights((directory / f"epoch-{number:04}.npz").read_bytes())
        except (ContractError, OSError):
            continue
    return None


def _numbers(directory: Path) -> list[int]:
    found = (CHECKPOINT.fullmatch(path.name) for path in directory.iterdir())
    return [int(match[1]) for match in found if match]


def _forget(directory: Path, *, below: int) -> None:
    for number in _numbers(directory):
        if number < below:
            (directory / f"epoch-{number:04}.npz").unlink(missing_ok=True)
            if number < below - 1:
                (directory / f"epoch-{number:04}.loss").unlink(missing_ok=True)
