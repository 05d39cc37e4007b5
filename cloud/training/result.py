"""What a run leaves behind for the coordinator: one document beside the files it names."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.models.gates import Refusal, Scores
from cloud.training.events import RoundFinished
from cloud.training.ledger import RESULT
from shared.errors import ContractError

WEIGHTS = "weights.npz"


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the run's directory."""

    digest: str
    """SHA-256 of the bytes."""

    size: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run, whatever the verdict."""

    run: str
    task: str
    digest: str
    """Of the final weights (`shared.tasks.weights.weights_digest`)."""

    files: dict[str, Artefact]
    """`weights.npz` and the candidate files, by their names in the run's directory."""

    rounds: list[RoundFinished]
    devices: dict[str, int]
    """Device that took part → examples it trained on."""

    scores: Scores
    holdouts: dict[str, dict[str, float]]
    """Device → share of its hold-out that each file classifies right; `training` is the float model."""

    admitted: list[str]
    """Files that cleared the bar; empty when the run ends without a release."""

    refused: dict[str, Refusal]
    evaluation: dict[str, float]
    """The shares it was judged by, for the release's manifest."""

    summary: str
    seconds: float
    """Of the last attempt."""


def read_result(directory: Path) -> RunResult | None:
    """Return the run's result, or None while there is none.

    Raises:
        ContractError: the file is no result.
    """
    try:
        return msgspec.json.decode((directory / RESULT).read_bytes(), type=RunResult)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ContractError(f"{directory / RESULT} is no result: {error}") from error
