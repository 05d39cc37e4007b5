"""What the API says of central jobs, and hears of evaluations."""

from __future__ import annotations

from typing import Any

import msgspec


class CentralJob(msgspec.Struct, frozen=True, kw_only=True):
    """Work on data of the company's own, in a process beside the coordinator."""

    id: str
    kind: str
    """`warm-start` or `evaluation`."""

    subject: str
    """The run or release it is about."""

    model: str
    state: str
    """`queued`, `running`, `cancelling`, `done`, `failed` or `cancelled`."""

    by: str
    reason: str
    order: dict[str, Any]
    """`data`, and for first weights `epochs` and `seed`."""

    result: dict[str, Any]
    """Of first weights `digest`, `data_sha256`, `examples`, `accuracy`, `device`; of an evaluation `files` with counts,
    `admitted`, `refused`, `summary`; empty until it is done."""

    attempts: int
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for files to be held against a data set; exactly one of `release` and `run` is named."""

    data: str
    """Name of a data set in the coordinator's data directory."""

    release: str = ""
    run: str = ""
    reason: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a job's log."""

    text: str
    """Bytes that are no UTF-8 are replaced."""

    next: int
    """Byte to ask for next."""

    over: bool
    """The job has ended, and there is no more."""


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """Want no more of a job."""

    reason: str = ""
