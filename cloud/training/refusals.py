"""Why nothing was taken from a device: what it sent was bad, it failed, was silent, or its owner said no."""

from __future__ import annotations

from cloud.training.asking import VetoedError
from cloud.training.events import Cause, UpdateRefused
from cloud.training.gate import Check, GateError
from shared.errors import ContractError, HinterlandError

SILENT = "no answer before the deadline"


def cause_of(error: HinterlandError) -> Cause:
    """Whose matter an error is that came of a device's answer."""
    if isinstance(error, VetoedError):
        return Cause.VETOED
    # bytes that break the contract were made by somebody: an agent sends none
    return Cause.GATE if isinstance(error, GateError | ContractError) else Cause.FAILED


def refusal(error: HinterlandError, *, at: float, round_: int, device: str, what: str = "") -> UpdateRefused:
    """The refusal of what a device sent in a round; `what` says of which part, if not of its update."""
    gate = error if isinstance(error, GateError) else None
    cause = cause_of(error)
    return UpdateRefused(
        at=at,
        round=round_,
        device=device,
        reason=f"{what}: {error}" if what else str(error),
        cause=cause,
        check=gate.check.value if gate else (Check.FORM.value if cause is Cause.GATE else ""),
        measured=gate.measured if gate else "",
    )


def silence(*, at: float, round_: int, device: str) -> UpdateRefused:
    """The refusal of nothing at all."""
    return UpdateRefused(at=at, round=round_, device=device, reason=SILENT, cause=Cause.SILENT)
