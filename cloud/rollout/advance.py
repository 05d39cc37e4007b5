"""Decide how a rollout goes on, from its state and what devices report; nothing here acts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from cloud.rollout.evidence import Evidence
from cloud.rollout.gates import Proof, conclude, explain, prove
from cloud.rollout.plan import Wave
from cloud.rollout.sequential import Verdict
from cloud.rollout.state import (
    BAD,
    SETTLED,
    TERMINAL,
    Action,
    Ask,
    Complete,
    Finish,
    Halt,
    Open,
    Rollout,
    RolloutState,
    Shadow,
    apply,
)
from cloud.rollout.windows import is_open
from shared.messages import Stage


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The newest word of a device about the rollout's release."""

    stage: Stage | None = None
    """None before it has said anything."""

    reason: str = ""
    asked_at: float | None = None
    """When it was asked to let the release serve; None before, or for when its wave opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a decision depends on beside the rollout itself."""

    reports: Mapping[str, Report] = field(default_factory=dict)
    """By device."""

    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    """Index of a wave → what all its devices have seen together."""

    excused: Collection[str] = ()
    """Devices that left the fleet, or what the rollout is for, since the plan was made."""

    places: Mapping[str, str] = field(default_factory=dict)
    """Device → place whose budget it counts against; one that is not named is a place of its own."""

    members: Mapping[str, int] = field(default_factory=dict)
    """Place → devices there, for budgets in percent."""

    approved: bool = True
    """Whether enough people agree to the document as it is now."""

    published: bool = True
    """Whether the release is signed: before that nothing begins."""

    def stage(self, device: str) -> Stage | None:
        """What the device said last."""
        report = self.reports.get(device)
        return report.stage if report else None

    def after(self, ask: Ask, *, at: float) -> View:
        """The same once devices were asked: their deadlines begin now, however long ago their wave opened."""
        before = {device: self.reports.get(device, Report()) for device in ask.devices}
        asked = {device: msgspec.structs.replace(said, asked_at=at) for device, said in before.items()}
        return replace(self, reports={**self.reports, **asked})


def advance(rollout: Rollout, view: View, *, at: float) -> list[Action]:
    """All that is due at `at` (Unix seconds), in order; empty when it is time to wait, or over."""
    actions: list[Action] = []
    while (action := step(rollout, view, at=at)) is not None:
        actions.append(action)
        rollout = apply(rollout, action, at=at)
        if isinstance(action, Ask):
            view = view.after(action, at=at)
    return actions


def step(rollout: Rollout, view: View, *, at: float) -> Action | None:
    """The next thing due, or None."""
    if rollout.state in TERMINAL:
        return None
    if (flaw := _flaw(rollout, view, at=_standing(rollout, at))) is not None:
        return Halt(flaw)
    if rollout.paused_at is not None:
        return None
    if (late := _late(rollout, view, at=at)) is not None:
        return Halt(late)
    if not view.approved:  # also in the midst of it: whoever changes an approved document must ask again
        return None
    match rollout.state:
        case RolloutState.PENDING:
            return _next(rollout, at=at) if view.published else None
        case RolloutState.SHADOWING:
            # a changed document may ask for no comparison any more
            return _compare(rollout, view, at=at) if rollout.compares else Open(rollout.wave)
        case RolloutState.OPEN:
            return _ask(rollout, view, at=at) or _complete(rollout, view, at=at)
        case _:
            over = at >= (rollout.complete_at or 0.0) + rollout.waves[rollout.wave].soak_s
            return _next(rollout, at=at) if over else None


def _standing(rollout: Rollout, at: float) -> float:
    """The time by which deadlines are judged: it stands still during a pause."""
    return at if rollout.paused_at is None else min(at, rollout.paused_at)


def _next(rollout: Rollout, *, at: float) -> Action | None:
    following = rollout.wave + 1
    if following >= len(rollout.waves):
        return Finish()
    if not is_open(rollout.spec.windows, at):
        return None
    return Shadow(following) if rollout.compares else Open(following)


def _compare(rollout: Rollout, view: View, *, at: float) -> Action | None:
    spec, wave, found = rollout.spec, rollout.waves[rollout.wave], view.evidence.get(rollout.wave, Evidence())
    proofs = tuple(prove(found, spec.gates, spec.shadow, wave=rollout.wave))
    match conclude(proofs, inputs=found.inputs, least=spec.shadow.least):
        case Verdict.WORSE:
            worst = next(proof for proof in proofs if proof.verdict is Verdict.WORSE)
            return Halt(f"{rollout.release} is worse: {explain(worst)}", proofs)
        case Verdict.NOT_WORSE:
            return Open(rollout.wave, proofs)
    if all(device in view.excused for device in wave.devices):
        return Open(rollout.wave)  # nobody is left who could be harmed
    if at >= (rollout.shadow_at or 0.0) + spec.shadow.within_s:
        return Halt(_unproven(proofs, found, spec.shadow.within_s), proofs)
    return None


def _unproven(proofs: Sequence[Proof], found: Evidence, within_s: float) -> str:
    open_ = [explain(proof) for proof in proofs if proof.verdict is Verdict.OPEN]
    what = "; ".join(open_) or f"{found.inputs} inputs are too few"
    return f"nothing was proven within {within_s:.0f} s: {what}"


def _ask(rollout: Rollout, view: View, *, at: float) -> Action | None:
    """The devices that their places' budgets have room for now, in the wave's order."""
    if not is_open(rollout.spec.windows, at):
        return None
    busy = Counter(view.places.get(device, device) for device in _unsettled(rollout, view))
    chosen = []
    for device in _unasked(rollout, view):
        where = view.places.get(device, device)
        if busy[where] < _room(rollout, view, where):
            busy[where] += 1
            chosen.append(device)
    return Ask(tuple(chosen)) if chosen else None


def _room(rollout: Rollout, view: View, place: str) -> float:
    budget = rollout.spec.budget
    bounds = [float(budget.devices)] if budget.devices else []
    if budget.percent:
        bounds.append(max(1.0, int(budget.percent / 100 * view.members.get(place, 1))))
    return min(bounds, default=float("inf"))


def _unasked(rollout: Rollout, view: View) -> list[str]:
    asked = set(rollout.asked)
    wave = rollout.waves[rollout.wave]
    return [device for device in wave.devices if device not in asked and device not in view.excused]


def _unsettled(rollout: Rollout, view: View) -> list[str]:
    return [name for name in rollout.asked if name not in view.excused and view.stage(name) not in SETTLED]


def _complete(rollout: Rollout, view: View, *, at: float) -> Action | None:
    if _unasked(rollout, view):
        return None
    wave = rollout.waves[rollout.wave]
    waiting = set(_unsettled(rollout, view)) & set(wave.devices)
    # who is overdue counts as failed, and is within what is tolerated, or the rollout had halted
    waiting = {device for device in waiting if not _overdue(rollout, view, wave, device, at=at)}
    return None if waiting else Complete(rollout.wave)


def _overdue(rollout: Rollout, view: View, wave: Wave, device: str, *, at: float) -> bool:
    report = view.reports.get(device)
    asked_at = report.asked_at if report and report.asked_at is not None else rollout.opened_at
    return at >= (asked_at or 0.0) + wave.deadline_s


def _late(rollout: Rollout, view: View, *, at: float) -> str | None:
    """Why the rollout as a whole has taken too long, or None."""
    spec = rollout.spec
    if rollout.began_at is not None and at >= rollout.began_at + spec.finish_within_s:
        return f"not done within {spec.finish_within_s:.0f} s"
    if rollout.state is RolloutState.PENDING and at >= rollout.created_at + spec.approve_within_s:
        missing = [word for word, there in (("approved", view.approved), ("published", view.published)) if not there]
        return f"not {missing[0]} within {spec.approve_within_s:.0f} s" if missing else None
    return None


def _flaw(rollout: Rollout, view: View, *, at: float) -> str | None:
    """Why the rollout must stop, or None; devices of earlier waves are watched to the end."""
    asked = set(rollout.asked)
    for index, wave in enumerate(rollout.waves[: rollout.wave + 1]):
        present = [device for device in wave.devices if device not in view.excused]
        bad = [device for device in present if view.stage(device) in BAD]
        if index == rollout.wave and rollout.state is RolloutState.OPEN:
            waiting = [device for device in present if device in asked and view.stage(device) not in SETTLED]
            bad += [device for device in waiting if _overdue(rollout, view, wave, device, at=at)]
        if len(bad) > wave.tolerated:
            return _explain(bad[0], view, wave)
    return None


def _explain(device: str, view: View, wave: Wave) -> str:
    report = view.reports.get(device)
    if report is None or report.stage not in BAD:
        return f"{device} did not settle within {wave.deadline_s:.0f} s"
    return f"{device}: {report.stage.value}" + (f" ({report.reason})" if report.reason else "")
