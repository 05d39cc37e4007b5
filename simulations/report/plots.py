"""The report's plots, as SVG text; pure functions of the record."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from simulations.report.record import AccuracyPoint, LoopReport

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = ["#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#9f6b53", "#448361", "#c4554d"]
STAGE_COLOURS = {
    "offered": "#cbd2d9",
    "downloading": "#9fb3c8",
    "verified": "#7b8794",
    "staged": "#f0b429",
    "trial": "#d9730d",
    "active": "#0f7b6c",
    "refused": "#ba2525",
    "failed": "#ba2525",
    "rolled-back": "#ad1a72",
}

mpl.rcParams.update(
    {
        "font.size": 9,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "hinterland",
        "legend.frameon": False,
        "font.family": "sans-serif",
    }
)


def accuracy(report: LoopReport) -> str:
    """Live accuracy per device over time, releases marked."""
    figure, axes = _canvas(height=3.4)
    for colour, (device, points) in zip(
        _colours(), sorted(_by_device(report.accuracy_over_time).items()), strict=False
    ):
        times, shares = _smoothed(points)
        shifted = device in report.shifted_devices
        axes.plot(
            times,
            shares,
            color=colour,
            label=device + (" (shifted)" if shifted else ""),
            linewidth=2.2 if shifted else 1.1,
            alpha=1.0 if shifted else 0.6,
        )
    _mark_releases(axes, report)
    axes.set(ylim=(0, 1.05), xlabel="seconds", ylabel="accuracy on labelled live windows")
    _legend_above(axes)
    return svg(figure)


def rounds(report: LoopReport) -> str:
    """Hold-out accuracy and loss per federated round, one line a run."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.7), layout="constrained")
    by_run = defaultdict(list)
    for each in report.rounds:
        by_run[each.run].append(each)
    for colour, (run, series) in zip(_colours(), by_run.items(), strict=False):
        numbers = [each.number for each in series]
        left.plot(numbers, [each.accuracy for each in series], marker="o", markersize=3, color=colour, label=run)
        right.plot(numbers, [each.loss for each in series], marker="o", markersize=3, color=colour, label=run)
    left.set(xlabel="round", ylabel="hold-out accuracy", ylim=(0, 1.05))
    right.set(xlabel="round", ylabel="training loss", ylim=(0, None))
    if by_run:
        left.legend(loc="lower right", fontsize=8)
    return svg(figure)


def drift(report: LoopReport) -> str:
    """Drift score per device over time, with the alarm threshold."""
    figure, axes = _canvas(height=2.7)
    series = defaultdict(list)
    for point in report.drift_over_time:
        series[point.device].append(point)
    for colour, (device, points) in zip(_colours(), sorted(series.items()), strict=False):
        axes.plot([p.at_s for p in points], [p.score for p in points], color=colour, label=device, linewidth=1.6)
        alarms = [p for p in points if p.alarm]
        axes.scatter([p.at_s for p in alarms], [p.score for p in alarms], color=colour, s=18, zorder=3)
    axes.axhline(report.drift.threshold, color="#ba2525", linewidth=1, linestyle="--")
    axes.annotate(
        "alarm threshold",
        (0.995, report.drift.threshold),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8,
        color="#ba2525",
    )
    _mark_releases(axes, report)
    axes.set(xlabel="seconds", ylabel="drift score (PSI)", ylim=(0, None))
    _legend_above(axes)
    return svg(figure)


def rollout(report: LoopReport) -> str:
    """When each device took each step of each update."""
    rows = sorted({(a.release, a.device) for a in report.rollout_timeline})
    figure, axes = _canvas(height=max(1.6, 0.24 * len(rows) + 0.8))
    for position, row in enumerate(rows):
        steps = sorted((a for a in report.rollout_timeline if (a.release, a.device) == row), key=lambda a: a.at_s)
        axes.plot([steps[0].at_s, steps[-1].at_s], [position, position], color=GRID, linewidth=4, zorder=1)
        axes.scatter(
            [a.at_s for a in steps],
            [position] * len(steps),
            zorder=2,
            s=26,
            color=[STAGE_COLOURS.get(a.stage, INK) for a in steps],
        )
    axes.set_yticks(range(len(rows)), [f"{release} · {device}" for release, device in rows])
    axes.invert_yaxis()
    axes.set(xlabel="seconds")
    seen = {a.stage for a in report.rollout_timeline}
    for stage, colour in STAGE_COLOURS.items():
        if stage in seen:
            axes.scatter([], [], color=colour, s=26, label=stage)
    _legend_above(axes)
    return svg(figure)


def _canvas(*, height: float) -> tuple[Any, Any]:
    figure, axes = plt.subplots(figsize=(8.6, height), layout="constrained")
    return figure, axes


def _legend_above(axes: Any) -> None:
    """Where it covers no data."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, fontsize=8, borderaxespad=0.2, columnspacing=1.2
        )


def _colours() -> Iterable[str]:
    while True:
        yield from COLOURS


def _by_device(points: Iterable[AccuracyPoint]) -> dict[str, list[AccuracyPoint]]:
    series: dict[str, list[AccuracyPoint]] = defaultdict(list)
    for point in points:
        series[point.device].append(point)
    return series


def _smoothed(points: list[AccuracyPoint], *, windows: int = 40) -> tuple[list[float], list[float]]:
    """Pool neighbouring points until each holds at least `windows` labelled inputs of one release and phase."""
    times: list[float] = []
    shares: list[float] = []
    pool: list[AccuracyPoint] = []
    for point in sorted(points, key=lambda p: p.at_s):
        if pool and (pool[-1].release, pool[-1].phase) != (point.release, point.phase):
            _flush(pool, times, shares)
        pool.append(point)
        if sum(p.labelled for p in pool) >= windows:
            _flush(pool, times, shares)
    _flush(pool, times, shares)
    return times, shares


def _flush(pool: list[AccuracyPoint], times: list[float], shares: list[float]) -> None:
    labelled = sum(p.labelled for p in pool)
    if labelled:
        times.append(pool[-1].at_s)
        shares.append(sum(p.correct for p in pool) / labelled)
    pool.clear()


def _mark_releases(axes: Any, report: LoopReport) -> None:
    for release in report.releases:
        if not release.active_after_s or release.model != _main_model(report):
            continue
        axes.axvline(release.published_s, color=INK, linewidth=0.9, linestyle=":")
        axes.annotate(
            release.id,
            (release.published_s, 1.0),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
            color=INK,
        )


def _main_model(report: LoopReport) -> str:
    return report.runs[0].task if report.runs else ""


def svg(figure: Any) -> str:
    """The figure as text, and closed."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
