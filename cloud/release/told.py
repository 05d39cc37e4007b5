"""What an operator reads after a ceremony, and what the audit log keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cloud.release.ceremonies import Outcome
from cloud.release.modelsig import MODEL_SIGNING
from cloud.release.repository import Renewal
from cloud.release.standing import Standing
from shared.trust.names import RELEASES

PUBLISHED = (
    "A running coordinator publishes this within a second or two; otherwise start it. Connected devices follow by "
    "themselves, others when they connect again. While the files arrive a device may report once that metadata is "
    "refused; what serves goes on serving."
)


def record(outcome: Outcome) -> dict[str, Any]:
    """For the audit log."""
    replaced = [{"role": role, "old": old, "new": new} for role, old, new in outcome.replaced]
    return {"replaced": replaced, "versions": outcome.signed}


def rotated(outcome: Outcome, *, where: Callable[[str], str]) -> list[str]:
    """What a rotation did."""
    return [*_replaced(outcome, where), *_models(outcome), PUBLISHED]


def revoked(outcome: Outcome, *, where: Callable[[str], str]) -> list[str]:
    """What a revocation did, and what is left to do."""
    lines = [*_replaced(outcome, where), *_models(outcome), PUBLISHED]
    lines.append(
        "From then on a device refuses whatever the old keys sign. One that the thief keeps from connecting still "
        "believes them, so look at which devices are missing: `hinterland devices`."
    )
    if any(role == RELEASES for role, _, _ in outcome.replaced):
        lines.append("Look at what was signed again: `hinterland releases`; withdraw what you did not publish.")
    if outcome.remembered:
        lines.append(
            "Not done yet: devices that a thief showed a higher version wait until snapshot and timestamp have new "
            "keys too. Bring two root keys: `hinterland trust revoke snapshot timestamp --reason …`."
        )
    return lines


def renewed(renewal: Renewal) -> list[str]:
    """What a renewal did."""
    lines = [f"signed again: {', '.join(renewal.signed) or 'nothing is due'}"]
    if renewal.waiting:
        lines.append(f"waiting for keys that are not here: {', '.join(renewal.waiting)}; bring them: `--offline-dir`")
    return lines


def table(found: Sequence[Standing]) -> list[str]:
    """One line a role, one line a key."""
    lines = [f"{'role':<16} {'version':>7}  {'expires (UTC)':<17} {'days':>7}  {'state':<8} {'sign':<5} keys"]
    for role in found:
        can, needs = "yes" if role.can_sign else "no", f"{role.threshold} of {len(role.keys)}"
        lines.append(
            f"{role.role:<16} {role.version:>7}  {role.expires:<17} {role.days_left:>7.1f}  "
            f"{role.state:<8} {can:<5} {needs}"
        )
        lines += [f"{'':<16} {key.name} {key.id[:12]} {key.where}" for key in role.keys]
    return lines


def _replaced(outcome: Outcome, where: Callable[[str], str]) -> list[str]:
    lines = [f"{role}: {f'{old} → ' if old else ''}{new} ({where(new)})" for role, old, new in outcome.replaced]
    return [*lines, f"signed: {', '.join(f'{role} {version}' for role, version in outcome.signed.items())}"]


def _models(outcome: Outcome) -> list[str]:
    gone = [old for role, old, _ in outcome.replaced if role == MODEL_SIGNING and old]
    if not any(role == MODEL_SIGNING for role, _, _ in outcome.replaced):
        return []
    if not gone:
        return ["Releases from now on are signed with the new model key; the one before it stays valid beside it."]
    return [
        f"A device will not start a release again that only {', '.join(gone)} vouches for: release those models again "
        "now, under a higher counter."
    ]
