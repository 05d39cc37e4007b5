"""What a builder's process is told and what it tells: the files of one build's directory.

`order.json` and `source.onnx` are there when it starts; it writes `progress.json` as it goes, and in the end
`engine.bin` and then `report.json`, each whole or not at all. A directory without a report is a build that did not end.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.bundle import Runtime
from shared.durable import read_if_present, write_atomic
from shared.errors import ContractError

ORDER, SOURCE, PROGRESS, ENGINE, REPORT, TIMINGS = (
    "order.json",
    "source.onnx",
    "progress.json",
    "engine.bin",
    "report.json",
    "timings.bin",
)

MAGIC = {Runtime.TENSORRT_RTX: b"vtrt", Runtime.TENSORRT: b"ftrt"}
"""First bytes of an engine."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the first axis, where a model leaves it open."""

    least: int = 1
    usual: int = 1
    """The size whose speed counts."""

    most: int = 32


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One engine to build."""

    runtime: Runtime
    sm: int
    batch: Batch = Batch()


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a builder is, in the words of its library."""

    phase: str
    done: int
    """Steps of all phases so far; how many there will be is not known before."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a build ended."""

    digest: str = ""
    """SHA-256 of the engine; empty when there is none."""

    size: int = 0
    version: str = ""
    """Of the library that built it; an engine runs on this version and, with TensorRT-RTX, on later minor ones."""

    layers: int = 0
    """That the parser made of the model."""

    seconds: float = 0.0
    notes: list[str] = []
    """What the library had to say: the reason of a failure is among it."""

    reason: str = ""
    """Why there is no engine, in one line."""


def write_order(directory: Path, order: Order, source: bytes) -> None:
    """Make a build's directory ready; a report of an attempt before is gone afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, ENGINE, PROGRESS):
        (directory / name).unlink(missing_ok=True)
    write_atomic(directory / SOURCE, source)
    write_atomic(directory / ORDER, msgspec.json.encode(order))


def read_order(directory: Path) -> tuple[Order, bytes]:
    """What is to be built in `directory`.

    Raises:
        ContractError: there is no order.
    """
    try:
        order = msgspec.json.decode((directory / ORDER).read_bytes(), type=Order)
        return order, (directory / SOURCE).read_bytes()
    except (OSError, msgspec.MsgspecError) as error:
        raise ContractError(f"{directory} holds no order: {error}") from error


def read_report(directory: Path) -> Report | None:
    """How the build ended; None while it did not."""
    data = read_if_present(directory / REPORT)
    return None if data is None else msgspec.json.decode(data, type=Report)


def read_progress(directory: Path) -> Progress | None:
    """How far the builder is; None before it said anything."""
    data = read_if_present(directory / PROGRESS)
    return None if data is None else msgspec.json.decode(data, type=Progress)
