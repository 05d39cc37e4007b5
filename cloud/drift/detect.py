"""Whether a device's inputs have left the data its release was trained on: a pure fold over its reports."""

from __future__ import annotations

import msgspec

from cloud.drift.policy import Policy
from cloud.drift.summary import Summary, merge
from shared.errors import ContractError
from shared.messages import DriftReport
from shared.sketch import Sketch, psi, psi_counts


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How far the newest inputs are from the reference; 0 means as close as chance allows."""

    value: float
    """`inputs` plus the weighted `confidence`."""

    inputs: float
    """Mean PSI of the most shifted features, less what chance alone gives; not below 0."""

    confidence: float
    """The same for the model's confidence."""

    classes: float
    """PSI of the predicted classes, for people to look at: a change of activity is no drift."""

    features: dict[str, float]
    """PSI per feature, the most shifted first."""

    count: int
    """Inputs it rests on."""


class DriftState(msgspec.Struct, frozen=True, kw_only=True):
    """What the coordinator keeps per (device, model, release)."""

    device: str
    model: str
    release: str
    reference: Summary | None = None
    recent: list[Summary] = []
    """Newest last; as many as a verdict needs."""

    shifted: int = 0
    """Windows in a row above the threshold."""

    usual: int = 0
    """Windows in a row below the clearing threshold."""

    drifted: bool = False
    since: float = 0.0
    """Unix seconds at which the alarm was raised; 0 without one."""

    windows: int = 0
    """Windows judged."""

    score: Score | None = None
    """Of the newest window judged."""


def observe(
    state: DriftState,
    report: DriftReport,
    policy: Policy,
    *,
    at: float | None = None,
    fallback: Summary | None = None,
) -> tuple[DriftState, Score | None]:
    """Take in one report; a score once there is a reference and enough inputs.

    Args:
        state: of the report's device, model and release.
        report: live, or the reference itself, which replaces an earlier one.
        policy: how to judge.
        at: Unix seconds of its receipt; the end of its window by the device's clock if not given.
        fallback: reference of the fleet, for a device without training data.

    Raises:
        ContractError: the report is about another release, or holds what is no sketch.
    """
    if (report.model, report.release) != (state.model, state.release):
        raise ContractError(f"a drift report on {report.release} where {state.release} is watched")
    summary = Summary.of(report)
    if report.reference:
        return msgspec.structs.replace(state, reference=summary), None
    state = msgspec.structs.replace(state, recent=_needed([*state.recent, summary], policy))
    reference = state.reference or fallback
    live = merge(state.recent)
    if reference is None or live.count < policy.least:
        return state, None
    score = compare(reference, live, policy)
    return _judge(state, score, policy, at=report.until if at is None else at), score


def compare(reference: Summary, live: Summary, policy: Policy) -> Score:
    """Score `live` against `reference`."""
    common = sorted(reference.features.keys() & live.features.keys())
    shifts = {name: _psi(reference.features[name], live.features[name], policy) for name in common}
    ranked = dict(sorted(shifts.items(), key=lambda item: -item[1]))
    top = list(ranked.values())[: policy.top]
    inputs = _beyond_chance(sum(top) / len(top) if top else 0.0, reference.count, live.count, policy)
    sure = (Sketch.from_bytes(reference.confidence), Sketch.from_bytes(live.confidence))
    confidence = _beyond_chance(psi(*sure, bins=policy.bins), sure[0].count, sure[1].count, policy)
    return Score(
        value=inputs + policy.confidence * confidence,
        inputs=inputs,
        confidence=confidence,
        classes=psi_counts(reference.classes, live.classes),
        features=ranked,
        count=live.count,
    )


def _judge(state: DriftState, score: Score, policy: Policy, *, at: float) -> DriftState:
    """Count windows in a row, and raise or clear the alarm."""
    shifted = state.shifted + 1 if score.value > policy.threshold else 0
    usual = state.usual + 1 if score.value < policy.clear else 0
    drifted = usual < policy.persistence if state.drifted else shifted >= policy.persistence
    since = state.since if state.drifted else at
    return msgspec.structs.replace(
        state,
        shifted=shifted,
        usual=usual,
        drifted=drifted,
        since=since if drifted else 0.0,
        windows=state.windows + 1,
        score=score,
    )


def _needed(windows: list[Summary], policy: Policy) -> list[Summary]:
    """The newest windows that together hold enough inputs."""
    kept: list[Summary] = []
    for window in reversed(windows[-policy.memory :]):
        if sum(summary.count for summary in kept) >= policy.least:
            break
        kept.insert(0, window)
    return kept


def _psi(reference: bytes, live: bytes, policy: Policy) -> float:
    return psi(Sketch.from_bytes(reference), Sketch.from_bytes(live), bins=policy.bins)


def _beyond_chance(value: float, reference: int, live: int, policy: Policy) -> float:
    return max(0.0, value - policy.chance(live=live, reference=reference))
