"""Rollouts for a person's eyes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fleet.tables import measured, moment, table
from shared import api
from shared.access import Vote

MOST = 40
"""Devices that are listed; failed ones come first."""


def rollouts(found: Sequence[api.Rollout]) -> Table:
    """One line a rollout."""
    rows = [
        (
            one.id,
            _state(one),
            f"{one.wave + 1}/{len(one.progress)}",
            f"{sum(wave.active for wave in one.progress)}/{sum(wave.devices for wave in one.progress)}",
            one.previous,
            one.fallback,
            one.reason,
        )
        for one in found
    ]
    return table("Rollouts", ("rollout", "state", "wave", "active", "before", "fallback", "reason"), rows)


def rollout(found: api.Rollout, devices: Sequence[api.RolloutDevice]) -> list[Table]:
    """Everything about one, with a line for some of its devices."""
    facts = [
        ("state", _state(found)),
        ("reason", found.reason),
        ("release", found.release),
        ("before", found.previous),
        ("fallback", found.fallback),
        ("waits for", f"approval: {found.approval} ({found.content[:12]})" if found.approval else ""),
        ("said", "; ".join(_said(vote) for vote in found.votes)),
        ("ordered", moment(found.created_at)),
    ]
    waves = [
        (number + 1, wave.devices, wave.asked, wave.active, wave.failed, wave.compared or "")
        for number, wave in enumerate(found.progress)
    ]
    return [
        table(f"Rollout {found.id}", ("", ""), [fact for fact in facts if fact[1]]),
        table("Waves", ("wave", "devices", "asked", "active", "failed", "compared"), waves),
        *_gates(found),
        _devices(devices, of=sum(wave.devices for wave in found.progress)),
    ]


def line(found: api.Rollout) -> str:
    """Where it stands, in one line."""
    wave = found.progress[found.wave] if 0 <= found.wave < len(found.progress) else None
    parts = [f"{found.id}: {_state(found)}"]
    if wave is not None:
        parts.append(f"wave {found.wave + 1}/{len(found.progress)}")
        parts.append(f"{wave.active} of {wave.devices} active" + (f", {wave.failed} failed" if wave.failed else ""))
        parts += [f"{gate.gate} {gate.verdict} ({gate.inputs})" for gate in wave.gates if found.state == "shadowing"]
    return ", ".join(parts) + (f": {found.reason}" if found.reason else "")


def _state(found: api.Rollout) -> str:
    waits = ", not approved" if found.state == "pending" and found.approval in ("waiting", "rejected") else ""
    return found.state + (", paused" if found.paused_at is not None else "") + waits


def _said(vote: Vote) -> str:
    return f"{vote.by} {'approves' if vote.approved else 'rejects'}" + (f" ({vote.reason})" if vote.reason else "")


def _gates(found: api.Rollout) -> list[Table]:
    rows = [
        (
            number + 1,
            gate.gate,
            gate.verdict,
            measured(gate),
            f"{gate.bound:g}",
            gate.inputs,
            f"{gate.not_worse:.1f} of {gate.needed:.1f}" if gate.needed else "",
        )
        for number, wave in enumerate(found.progress)
        for gate in wave.gates
    ]
    names = ("wave", "gate", "verdict", "measured", "bound", "inputs", "proof")
    return [table("Gates", names, rows)] if rows else []


def _devices(rows: Sequence[api.RolloutDevice], *, of: int) -> Table:
    some = f", {len(rows)} of {of}" if len(rows) < of else ""
    lines = [(row.device, row.wave + 1, row.stage, row.reason) for row in rows]
    return table(f"Devices{some}", ("device", "wave", "stage", "reason"), lines)
