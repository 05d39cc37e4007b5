"""From a parsed document to a rollout's specification, and what makes none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from cloud.rollout.spec import Growth, Mode, Spec, WaveSize
from cloud.rollout.windows import check_window
from shared.errors import ContractError, RefusedError
from shared.ids import check_name

KIND = "rollout"


def spec_from(document: dict[str, Any]) -> Spec:
    """Build and check a specification.

    Raises:
        ContractError: a field is unknown, missing or of the wrong kind.
        RefusedError: its numbers make no sense together.
    """
    try:
        return check(msgspec.convert(document, Spec))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ContractError(f"no rollout: {error}", hint="docs/rollouts.md explains each field.") from error


def document_of(spec: Spec) -> dict[str, Any]:
    """The specification as plain JSON values; the reverse of `spec_from`."""
    document: dict[str, Any] = msgspec.to_builtins(spec, order="sorted")
    return document


def check(spec: Spec) -> Spec:
    """Return `spec` if it can be followed.

    Raises:
        ContractError: a name in it is none.
        RefusedError: a field is out of range; the message names it.
    """
    if spec.kind != KIND:
        raise ContractError(f"a document of kind {spec.kind[:40]!r} is no rollout")
    for name in (spec.release, *([spec.fleet] if spec.fleet else []), *spec.canaries, *spec.target.devices):
        check_name(name)
    for window in spec.windows:
        check_window(window)
    for field, right, hint in _rules(spec):
        if not right:
            raise RefusedError(f"the rollout of {spec.release}: {field} is out of range", hint=hint)
    return spec


def _rules(spec: Spec) -> Iterator[tuple[str, bool, str]]:
    """Field, whether it is within its range, and what that is."""
    shadow, gates, budget = spec.shadow, spec.gates, spec.budget
    yield "waves", not (spec.waves and spec.growth), "Give waves or growth, not both."
    yield "waves", _rise(spec.waves), "Each wave has a count or a percentage (above 0, to 100), and they grow."
    yield "growth", spec.growth is None or _grows(spec.growth), "`first` of at least 1, a `factor` of at least 1."
    yield "soak_s", 0 <= spec.soak_s < float("inf"), "Seconds, 0 or more."
    for field in ("deadline_s", "finish_within_s", "approve_within_s"):
        yield field, 0 < getattr(spec, field) < float("inf"), "Seconds, above 0."
    yield "budget", budget.devices >= 0 and 0 <= budget.percent <= 100, "Devices of 0 or more, 0 to 100 percent."
    yield "shadow.share", 0 < shadow.share <= 1, "Above 0, to 1."
    yield "shadow.split", (0 < shadow.split <= 1) == (shadow.mode is Mode.SPLIT), "Above 0, to 1, with mode split only."
    yield "shadow.least", shadow.least >= 1, "At least 1."
    yield "shadow.within_s", 0 < shadow.within_s < float("inf"), "Seconds, above 0."
    for margin in ("accuracy", "agreement", "confidence"):
        gate = getattr(gates, margin)
        yield f"gates.{margin}", gate is None or 0 < gate.margin < 1, "A margin above 0, below 1."
    yield "gates.error", 0 < gates.error < 0.5, "Above 0, below 0.5."
    yield "gates.failures", gates.failures is None or 0 < gates.failures < 1, "Above 0, below 1."
    yield "gates.latency", gates.latency is None or gates.latency > 0, "Above 0."
    yield "gates.drift", gates.drift is None or gates.drift > 0, "Above 0."
    yield "abort.failed", 0 <= spec.abort.failed <= 1, "A share from 0 to 1."
    yield "approvals", 0 <= spec.approvals <= 2, "0, 1 or 2."


def _grows(growth: Growth) -> bool:
    return growth.first >= 1 and 1 <= growth.factor < float("inf")


def _rise(waves: Sequence[WaveSize]) -> bool:
    """Whether each has one size, and sizes of one kind grow."""
    if not all((size.count > 0) != (0 < size.percent <= 100) and size.percent >= 0 <= size.count for size in waves):
        return False
    counts, shares = [size.count for size in waves if size.count], [size.percent for size in waves if size.percent]
    return counts == sorted(set(counts)) and shares == sorted(set(shares))
