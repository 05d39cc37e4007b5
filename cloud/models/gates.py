"""The bar that a candidate model must clear before anyone signs it.

Scores are counts added up over the hold-outs of many devices, so that no device's data leaves it and the shares
below are exact for the whole cohort. What is judged are the very files that would be released, run by the devices'
own runtime; `correct` of the float training model only serves to find out whether the export lost anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

PARITY = 1e-3
"""Largest difference of a logit between the training framework and ONNX Runtime on the same input."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """The least a candidate must do; shares are 0 to 1."""

    accuracy: float = 0.5
    """Share of held-out examples that the float file classifies right."""

    drop: float = 0.02
    """Most accuracy that a smaller variant may lose against the float file."""

    agreement: float = 0.97
    """Least share of held-out examples on which a smaller variant says what the float file says."""

    champion_tolerance: float = 0.02
    """How much worse than the serving release, on the same hold-outs, a challenger may be."""

    parity: float = PARITY
    """Largest difference of a logit between the training framework and the float file."""

    least_examples: int = 50
    """Held-out examples below which no share means anything."""

    recall: float = 0.0
    """Least share of each class that the float file finds; 0 asks nothing."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What one file did on the hold-outs; tallies of devices add up."""

    correct: int = 0
    examples: int = 0
    agreed: int = 0
    """Examples on which it said what the float file said."""

    found: tuple[int, ...] = ()
    """Per class: examples of it that were classified right; empty when not counted."""

    present: tuple[int, ...] = ()
    """Per class: examples of it."""

    @property
    def accuracy(self) -> float:
        """0 when there was no example."""
        return self.correct / self.examples if self.examples else 0.0

    @property
    def agreement(self) -> float:
        """0 when there was no example."""
        return self.agreed / self.examples if self.examples else 0.0

    def add(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            correct=self.correct + other.correct,
            examples=self.examples + other.examples,
            agreed=self.agreed + other.agreed,
            found=_added(self.found, other.found),
            present=_added(self.present, other.present),
        )


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured about a candidate."""

    training: Tally
    """The float model in the framework that trained it."""

    variants: dict[str, Tally]
    """Variant name → what that file did in ONNX Runtime."""

    champion: Tally | None = None
    """The serving release on the same hold-outs; None when nothing serves yet."""

    parity: float = 0.0
    """Largest difference of a logit seen between the training framework and the float file."""


class Reason(StrEnum):
    """Why a file is not released."""

    TOO_FEW_EXAMPLES = "too-few-examples"
    NOT_THE_TRAINED_MODEL = "not-the-trained-model"
    TOO_WEAK = "too-weak"
    CLASS_LOST = "class-lost"
    WORSE_THAN_CHAMPION = "worse-than-champion"
    LOSES_TOO_MUCH = "loses-too-much"
    DISAGREES = "disagrees"
    NOT_MEASURED = "not-measured"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One reason with its numbers."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be released."""

    admitted: tuple[str, ...]
    """Names of the variants that cleared the bar; none when the candidate as such did not."""

    refused: dict[str, Refusal]
    """Variant → why not."""

    evaluation: dict[str, float] = field(default_factory=dict)
    """The shares it was judged by, for the release's manifest."""

    @property
    def release(self) -> bool:
        """Whether there is anything to release."""
        return bool(self.admitted)

    @property
    def summary(self) -> str:
        """One line for a person."""
        if not self.refused:
            return f"released: {', '.join(self.admitted)}"
        refusals = "; ".join(f"{name}: {refusal.detail}" for name, refusal in self.refused.items())
        return f"released: {', '.join(self.admitted) or 'nothing'}; refused: {refusals}"


def judge(scores: Scores, bar: Bar, *, baseline: str) -> Verdict:
    """Say which variants may be released.

    Args:
        scores: counts over all hold-outs.
        bar: what is asked.
        baseline: name of the float variant, by which the candidate as such is judged.
    """
    missing = Refusal(reason=Reason.NOT_MEASURED, detail=f"no device measured {baseline}")
    whole = _candidate(scores, bar, baseline) if baseline in scores.variants else missing
    refused: dict[str, Refusal] = {}
    for name, tally in scores.variants.items():
        refusal = whole or (None if name == baseline else _smaller(tally, scores.variants[baseline], bar))
        if refusal is not None:
            refused[name] = refusal
    return Verdict(
        admitted=tuple(sorted(name for name in scores.variants if name not in refused)),
        refused=refused if scores.variants else {baseline: missing},
        evaluation=evaluation_of(scores),
    )


def evaluation_of(scores: Scores) -> dict[str, float]:
    """Named shares for the manifest, e.g. `accuracy.cpu-int8.onnx`."""
    shares = {"accuracy.training": scores.training.accuracy, "parity": scores.parity}
    for name, tally in scores.variants.items():
        shares[f"accuracy.{name}"] = tally.accuracy
        shares[f"agreement.{name}"] = tally.agreement
        shares["examples"] = float(tally.examples)
    if scores.champion is not None:
        shares["accuracy.champion"] = scores.champion.accuracy
    return shares


def _candidate(scores: Scores, bar: Bar, baseline: str) -> Refusal | None:
    """Judge the model itself by its float file."""
    tally = scores.variants[baseline]
    if tally.examples < max(bar.least_examples, 1):
        return _refusal(Reason.TOO_FEW_EXAMPLES, f"{tally.examples} examples, {bar.least_examples} are asked")
    if not scores.parity <= bar.parity:  # NaN is no parity either
        return _refusal(Reason.NOT_THE_TRAINED_MODEL, f"logits differ by {scores.parity:.2g}, over {bar.parity:.2g}")
    if tally.accuracy < bar.accuracy:
        return _refusal(Reason.TOO_WEAK, f"accuracy {tally.accuracy:.3f}, under {bar.accuracy:.3f}")
    lost = _lost_class(tally, bar.recall)
    if lost is not None:
        return _refusal(Reason.CLASS_LOST, f"class {lost} is found in under {bar.recall:.3f} of its examples")
    return _against_champion(tally, scores.champion, bar)


def _against_champion(tally: Tally, champion: Tally | None, bar: Bar) -> Refusal | None:
    if champion is None or not champion.examples:
        return None
    least = champion.accuracy - bar.champion_tolerance
    if tally.accuracy < least:
        detail = f"accuracy {tally.accuracy:.3f}, the serving release has {champion.accuracy:.3f}"
        return _refusal(Reason.WORSE_THAN_CHAMPION, detail)
    return None


def _smaller(tally: Tally, baseline: Tally, bar: Bar) -> Refusal | None:
    """Judge an optimised file against the float one."""
    if tally.examples != baseline.examples:
        return _refusal(Reason.NOT_MEASURED, f"measured on {tally.examples} of {baseline.examples} examples")
    if baseline.accuracy - tally.accuracy > bar.drop:
        detail = f"accuracy {tally.accuracy:.3f}, the float file has {baseline.accuracy:.3f}"
        return _refusal(Reason.LOSES_TOO_MUCH, detail)
    if tally.agreement < bar.agreement:
        return _refusal(Reason.DISAGREES, f"agreement {tally.agreement:.3f}, under {bar.agreement:.3f}")
    return None


def _lost_class(tally: Tally, recall: float) -> int | None:
    shares = enumerate(zip(tally.found, tally.present, strict=True))
    return next((label for label, (found, present) in shares if present and found / present < recall), None)


def _refusal(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason=reason, detail=detail)


def _added(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if not first or not second:
        return first or second
    return tuple(a + b for a, b in zip(first, second, strict=True))
