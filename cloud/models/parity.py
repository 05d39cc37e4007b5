"""The parity gate: may this file be released beside the float one?

A file that could be run here is judged by what it answers to held-out inputs. One that could not, since no such GPU is
here, is labelled so in the release (`shared.bundle.UNEXECUTED`) and carries its proof with it: a device admits it only
where its owner's policy does, and runs the proof before it serves (`edge.inference.proof`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from shared.parity import Likeness


class ParityBar(msgspec.Struct, frozen=True, kw_only=True):
    """The least that a smaller or other file must do, against the float one on the same inputs; shares are 0 to 1."""

    agreement: float = 0.97
    """Inputs with the same first label; objects found again."""

    precision: float = 0.95
    """Detection: mean average precision with the float model's objects as truth."""

    per_class: float = 0.8
    """Of each class that has `least_per_class` examples."""

    least_per_class: int = 20
    """Examples below which a class's share means nothing."""

    least: int = 50
    """Inputs (classification) or objects (detection) below which nothing is judged."""


class Label(StrEnum):
    """What is known of a file."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_EXECUTED = "not-executed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One file's verdict."""

    label: Label
    detail: str
    """In numbers, for people."""

    shares: dict[str, float] = {}
    """For the release's manifest."""


def judge(likeness: Likeness | None, bar: ParityBar, *, detection: bool, why_not: str = "") -> Finding:
    """Give a file its label.

    Args:
        likeness: how it compares; None where it could not be run.
        bar: what is asked.
        detection: whether the counts are of objects.
        why_not: where it could not be run, what was missing.
    """
    if likeness is None:
        return Finding(label=Label.NOT_EXECUTED, detail=why_not)
    what = "objects" if detection else "inputs"
    count, found = sum(likeness.present), sum(likeness.found)
    measured = f"{found} of {count} {what} alike, mAP {likeness.precision:.3f}"
    shares = {"agreement": likeness.agreement, "precision": likeness.precision, what: float(count)}
    reason = _reason(likeness, bar, count, what)
    label = Label.FAILED if reason else Label.PASSED
    return Finding(label=label, detail=f"{reason}; {measured}" if reason else measured, shares=shares)


def _reason(likeness: Likeness, bar: ParityBar, count: int, what: str) -> str:
    if count < max(bar.least, 1):
        return f"{count} {what} prove nothing, {bar.least} are asked"
    if likeness.agreement < bar.agreement:
        return f"agreement {likeness.agreement:.3f}, under {bar.agreement:.3f}"
    if likeness.precision < bar.precision:
        return f"mean average precision {likeness.precision:.3f}, under {bar.precision:.3f}"
    for label, (found, present) in enumerate(zip(likeness.found, likeness.present, strict=True)):
        if present >= bar.least_per_class and found / present < bar.per_class:
            return f"class {label}: {found} of {present}, under {bar.per_class:.3f}"
    return ""
