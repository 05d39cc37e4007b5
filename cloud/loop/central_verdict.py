"""What the company's own judgement does to a run's candidate, as its line says."""

from __future__ import annotations

from pathlib import Path

from cloud.store.jobs import JobRow, JobState
from cloud.training.result import RunResult
from shared.errors import ContractError
from shared.tasks.weights import unpack_weights, weights_digest


def with_central(result: RunResult, job: JobRow | None, decides: str) -> tuple[list[str], str]:
    """The files that may be released, and the sentence that says why.

    Args:
        result: what the devices judged.
        job: the company's own judgement, over; None where it decides nothing.
        decides: `nothing`, `also` or `alone`, `cloud.central.terms.Central`.
    """
    if job is None or decides == "nothing":
        return result.admitted, result.summary
    if job.state is not JobState.DONE:  # without the judgement that was asked for there is no release
        return [], f"{job.id} {job.state}: {job.reason}; the devices: {result.summary}"
    here = [str(name) for name in job.result["admitted"]]
    admitted = here if decides == "alone" else [name for name in result.admitted if name in here]
    said = f"on {job.order['data']} {job.result['summary']}; the devices: {result.summary}"
    return admitted, f"released: {', '.join(admitted) or 'nothing'}; {said}"


def check_weights(path: Path, digest: str) -> None:
    """Refuse first weights that are not those their job told of.

    Raises:
        ContractError: they are not, or cannot be read.
    """
    try:
        found = weights_digest(unpack_weights(path.read_bytes()))
    except OSError as error:
        raise ContractError(f"the first weights cannot be read: {error}") from error
    if found != digest:
        raise ContractError(f"{path} holds {found[:12]}, its job made {digest[:12]}")
