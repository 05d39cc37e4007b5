"""What a wave's evidence proves: each gate asks one question, and all must be answered well.

Three gates need a proof: sequential tests of paired differences (`cloud.rollout.sequential`), which may be looked at
after every report. They share the error rate of the whole rollout between them and its waves, so that "a rollout
promotes a worse challenger with probability at most 5 %" is said of the rollout and not of one look: wave k of as many
as there may ever be gets 1/((k+1)(k+2)) of it (1/2, 1/6, 1/12, …: together 1), shared equally by its tests: the union
bound with a spending sequence (α-spending; Foster and Stine, JRSS B 70, 2008). So waves that late comers or a change
of plan add while a rollout is under way are paid for in advance.
`failures` is such a test that only halts: a wave need not prove that it fails seldom, only not be shown to fail often.
The others are plain bounds on what was measured, and count once there is enough of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from cloud.rollout.evidence import TWENTIETHS, Evidence
from cloud.rollout.sequential import Tolerance, Verdict, judge
from cloud.rollout.spec import Gates, Shadow
from shared.sketch import Sketch, psi_counts

SLOW = 0.95
"""Quantile of latency that is compared."""

RUIN = -1e6
"""Stands for the logarithm of nothing, which JSON cannot say."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's answer, as it is shown and kept."""

    gate: str
    verdict: Verdict
    measured: float | None
    """Mean paired difference, a share, a ratio or degrees, by gate; None before there is anything."""

    bound: float
    """What `measured` is held against."""

    inputs: int
    """How many it rests on."""

    not_worse: float = 0.0
    """Sequential tests: natural logarithm of the capital won against "it is worse than the bound"."""

    worse: float = 0.0
    """The same against "it is not"."""

    needed: float = 0.0
    """Sequential tests: the capital, as its logarithm, at which one of the two counts as proven."""


def prove(evidence: Evidence, gates: Gates, shadow: Shadow, *, wave: int) -> list[Proof]:
    """Hold a wave's evidence against every gate that is asked.

    Args:
        evidence: of all devices of the wave together.
        gates: what is asked.
        shadow: how many inputs are needed at least.
        wave: its index, which decides its part of the rollout's error rate.
    """
    tests = {name: counts for name, counts in _paired(evidence).items() if getattr(gates, name) is not None}
    error = gates.error / (max(1, len(tests)) * (wave + 1) * (wave + 2))
    proofs = [_test(name, counts, gates, error=error) for name, counts in tests.items()]
    bounds = {name: value for name, value in _MEASURED.items() if getattr(gates, name) is not None}
    return proofs + [_bound(name, value(evidence), gates, shadow, evidence) for name, value in bounds.items()]


def conclude(proofs: Sequence[Proof], *, inputs: int, least: int) -> Verdict:
    """What all gates together allow."""
    verdicts = {proof.verdict for proof in proofs}
    if Verdict.WORSE in verdicts:
        return Verdict.WORSE
    return Verdict.OPEN if Verdict.OPEN in verdicts or inputs < least else Verdict.NOT_WORSE


def explain(proof: Proof) -> str:
    """One gate's answer in words."""
    measured = "nothing" if proof.measured is None else f"{proof.measured:+.3g}"
    return f"{proof.gate}: measured {measured} against {proof.bound:g} over {proof.inputs} inputs: {proof.verdict}"


def _paired(evidence: Evidence) -> dict[str, dict[float, int]]:
    """Gate → paired difference, challenger less champion → inputs."""
    return {
        "accuracy": {
            1.0: evidence.only_challenger,
            0.0: evidence.both_right + evidence.both_wrong,
            -1.0: evidence.only_champion,
        },
        "agreement": {0.0: evidence.agreed, -1.0: evidence.inputs - evidence.agreed},
        "confidence": {max(-1.0, bin_ / TWENTIETHS): n for bin_, n in evidence.confidence.items()},
        "failures": {0.0: evidence.inputs, -1.0: evidence.errors},
    }


def _test(name: str, counts: Mapping[float, int], gates: Gates, *, error: float) -> Proof:
    asked = getattr(gates, name)
    margin = asked if name == "failures" else asked.margin
    tolerance = Tolerance(margin=margin, promote_error=error, halt_error=error)
    found = judge(counts, tolerance)
    verdict = found.verdict
    if name == "failures" and verdict is Verdict.OPEN:
        verdict = Verdict.NOT_WORSE
    return Proof(
        gate=name,
        verdict=verdict,
        measured=found.mean if found.inputs else None,
        bound=-margin,
        inputs=found.inputs,
        not_worse=max(found.not_worse, RUIN),
        worse=max(found.worse, RUIN),
        needed=tolerance.needed,
    )


def _bound(name: str, measured: float | None, gates: Gates, shadow: Shadow, evidence: Evidence) -> Proof:
    bound: float = getattr(gates, name)
    if measured is None:
        # a device without a sensor has no temperature to be judged by; everything else must be measured
        verdict = Verdict.NOT_WORSE if name == "temperature_c" else Verdict.OPEN
    elif measured <= bound:
        verdict = Verdict.NOT_WORSE
    else:
        verdict = Verdict.WORSE if evidence.inputs >= shadow.least else Verdict.OPEN
    return Proof(gate=name, verdict=verdict, measured=measured, bound=bound, inputs=evidence.inputs)


def _latency(evidence: Evidence) -> float | None:
    if not evidence.latency_ms or not evidence.champion_latency_ms:
        return None
    champion = Sketch.from_bytes(evidence.champion_latency_ms).quantile(SLOW)
    return Sketch.from_bytes(evidence.latency_ms).quantile(SLOW) / champion if champion > 0 else None


def _drift(evidence: Evidence) -> float | None:
    return psi_counts(evidence.champion_classes, evidence.classes) if evidence.inputs else None


_MEASURED: dict[str, Callable[[Evidence], float | None]] = {
    "latency": _latency,
    "drift": _drift,
    "temperature_c": lambda evidence: evidence.temperature_c,
}
