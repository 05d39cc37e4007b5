"""What central jobs are told, and what they tell: `order.json` and `result.json` of a job's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.models.gates import Bar, Refusal, Tally
from cloud.models.line import LocalRecipe
from shared.bundle import Runtime
from shared.durable import read_if_present, write_atomic
from shared.errors import ContractError
from shared.task_compute import AUTO, Precision

ORDER, RESULT, WEIGHTS = "order.json", "result.json", "weights.npz"

T = TypeVar("T")


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """On what the job computes; the path is the same code on a CPU and on a GPU."""

    device: str = AUTO
    precision: Precision = Precision.AUTO


class WarmOrder(msgspec.Struct, frozen=True, kw_only=True):
    """First weights to make."""

    task: str
    data: str
    """Path."""

    epochs: int
    seed: int
    recipe: LocalRecipe = LocalRecipe()
    where: Where = Where()


class WarmResult(msgspec.Struct, frozen=True, kw_only=True):
    """First weights that were made: `weights.npz`."""

    digest: str
    """Of the weights (`shared.tasks.weights.weights_digest`)."""

    data_sha256: str
    examples: int
    epochs: int
    loss: float
    """Mean training loss of the last epoch."""

    accuracy: float
    """On the same data, which the model has seen."""

    device: str
    """Where it was computed."""

    seconds: float
    """Of the attempt that ended it."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A file to judge."""

    path: str
    runtime: Runtime = Runtime.ONNXRUNTIME


class EvaluationOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Files to hold against a data set."""

    data: str
    """Path."""

    input_shape: list[int]
    classes: int
    files: dict[str, Judged]
    baseline: str
    """File by which the candidate as such is judged, and others are compared with."""

    bar: Bar = Bar()
    task: str = ""
    weights: str = ""
    """Path of the trained weights, where they are here: what the export lost shows against them."""

    champion: str = ""
    """Path of the float file that serves; empty for none."""

    where: Where = Where()


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What files did on a data set."""

    data_sha256: str
    examples: int
    files: dict[str, Tally]
    left_out: dict[str, str] = {}
    """File that was not run → why."""

    admitted: list[str]
    """Files that clear the bar here."""

    refused: dict[str, Refusal] = {}
    evaluation: dict[str, float] = {}
    summary: str
    device: str = ""
    """Where the trained weights were computed; files run on the CPU as devices run them."""

    seconds: float = 0.0


def write_order(directory: Path, order: WarmOrder | EvaluationOrder) -> None:
    """Put an order where its job finds it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomic(directory / ORDER, msgspec.json.encode(order))


def read_order(directory: Path, kind: type[T]) -> T:
    """What is to be done.

    Raises:
        ContractError: there is no such order.
    """
    try:
        return msgspec.json.decode((directory / ORDER).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ContractError(f"no order in {directory}: {error}") from error


def read_result(directory: Path, kind: type[T]) -> T | None:
    """What came of it; None while it is not done.

    Raises:
        ContractError: the file is no result.
    """
    data = read_if_present(directory / RESULT)
    try:
        return None if data is None else msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{directory / RESULT} is no result: {error}") from error
