"""The plots of a rollout, as SVG text; pure functions of the record."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt

from simulations.report.plots import COLOURS, INK, MUTED, STAGE_COLOURS, svg
from simulations.scenarios.rollout.record import Act, RolloutReport

COLOUR = {**STAGE_COLOURS, "shadow": "#6940a5", "withdrawn": "#e4d7f0"}

LEAST = -10.0
"""Logarithms of capital below it are drawn there."""


def story(report: RolloutReport) -> str:
    """Devices that serve each release, over the whole run."""
    figure, axes = plt.subplots(figsize=(8.6, 2.8), layout="constrained")
    for colour, act in zip(COLOURS, report.acts, strict=False):
        times = [act.began_s, *(count.at_s for count in act.stages), act.ended_s]
        reached = [0, *(sum(count.stages.values()) for count in act.stages)]
        axes.step(times, [*reached, reached[-1]], where="post", color=colour, label=act.name, linewidth=1.8)
        axes.axvspan(act.began_s, act.ended_s, color=colour, alpha=0.05)
    axes.set(xlabel="seconds", ylabel="devices that saw the release", ylim=(0, report.devices * 1.05))
    _legend(axes)
    return svg(figure)


def stages(act: Act) -> str:
    """Devices by stage over time, stacked."""
    if not act.stages:
        return ""
    figure, axes = plt.subplots(figsize=(8.6, 2.2), layout="constrained")
    names = [name for name in COLOUR if any(name in count.stages for count in act.stages)]
    times = [count.at_s for count in act.stages] + [act.ended_s]
    rows = [[count.stages.get(name, 0) for count in [*act.stages, act.stages[-1]]] for name in names]
    axes.stackplot(times, rows, labels=names, colors=[COLOUR[name] for name in names], step="post")
    axes.set(xlabel="seconds", ylabel="devices")
    _legend(axes)
    return svg(figure)


def capital(act: Act) -> str:
    """What the sequential test of accuracy had won for either claim at each look."""
    figure, axes = plt.subplots(figsize=(8.6, 2.2), layout="constrained")
    for wave in sorted({look.wave for look in act.looks}):
        looks = sorted((look for look in act.looks if look.wave == wave), key=lambda look: look.at_s)
        times, first = [look.at_s for look in looks], wave == act.looks[0].wave
        for claim, colour in (("not_worse", "#0f7b6c"), ("worse", "#ba2525")):
            capitals = [max(getattr(look, claim), LEAST) for look in looks]
            label = claim.replace("_", " ") if first else None
            axes.plot(times, capitals, color=colour, label=label, marker=".", markersize=3)
        axes.hlines(looks[-1].needed, times[0], times[-1], color=INK, linewidth=1, linestyle="--")
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set(xlabel="seconds", ylabel=f"log capital (cut at {LEAST:g})")
    _legend(axes)
    return svg(figure)


def _legend(axes: Any) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=8, fontsize=8, borderaxespad=0.2, columnspacing=1.2)
