"""`index.html`: one self-contained page, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from simulations.report import plots
from simulations.report.record import LoopReport

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --good: #0f7b6c; --bad: #ba2525; }
* { box-sizing: border-box } body { margin: 0; background: #f5f7fa; color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
main { max-width: 980px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 10px }
p.lead { color: var(--muted); margin: 0 0 22px } section { background: #fff; border: 1px solid var(--line);
  border-radius: 10px; padding: 18px 20px; margin: 0 0 18px; overflow-x: auto }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 18px }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums }
.tile span { color: var(--muted); font-size: 13px }
table { border-collapse: collapse; width: 100%; font-size: 13.5px }
th { text-align: left; color: var(--muted); font-weight: 500 }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap } code { font-size: 12.5px }
svg, img { width: 100%; height: auto } .good { color: var(--good) } .bad { color: var(--bad) }
ul { margin: 0; padding-left: 18px; color: var(--muted) }
"""


def render(report: LoopReport, *, picture: Path | None = None) -> str:
    """The whole page; `picture` is a PNG or JPEG with detections drawn in."""
    closed = report.loop_closed
    verdict = "The loop closed" if closed else f"The loop did not close: {', '.join(report.missing)}"
    parts = [
        f"<h1 class='{'good' if closed else 'bad'}'>{escape(verdict)}</h1>",
        f"<p class='lead'>Scenario <code>{escape(report.scenario)}</code>, seed {report.seed}, "
        f"{len(report.devices)} devices, {report.duration_s:.0f} seconds.</p>",
        _tiles(report),
        _section("Accuracy on each device, live", plots.accuracy(report)),
        _section("Drift", plots.drift(report) + f"<p>{escape(report.drift.shift)}</p>"),
        _section("Federated rounds", plots.rounds(report)),
        _section("Rollouts", plots.rollout(report)),
        _section("Releases", _releases(report)),
        _section("Stages of the loop, and what proves each", _stages(report)),
    ]
    if picture is not None and picture.exists():
        parts.append(_section("What the camera's detector sees", _picture(report, picture)))
    parts.append(
        _section(
            "Read this with the figures", "<ul>" + "".join(f"<li>{escape(n)}</li>" for n in report.notes) + "</ul>"
        )
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Hinterland: {escape(report.scenario)}</title>"
        f"<style>{STYLE}</style><main>{''.join(parts)}</main></html>"
    )


def _tiles(report: LoopReport) -> str:
    accuracy, inference, telemetry = report.accuracy, report.inference, report.telemetry
    facts = [
        (f"{accuracy.before_drift:.2f}", "accuracy before the drift"),
        (f"{accuracy.under_drift:.2f}", "under drift, old release"),
        (f"{accuracy.after_retrain:.2f}", "after retraining"),
        (f"{report.drift.detected_after_s:.0f} s", "from shift to alarm"),
        (f"{inference.windows + inference.frames:,}", "windows and frames inferred"),
        (f"{inference.p99_ms:.1f} ms", "inference, 99th percentile"),
        (f"{telemetry.lost} / {telemetry.duplicated}", f"lost / duplicated of {telemetry.sent:,} records"),
    ]
    tiles = "".join(
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in facts
    )
    return f"<div class='tiles'>{tiles}</div>"


def _releases(report: LoopReport) -> str:
    rows = []
    for each in report.releases:
        sizes = ", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in each.size.items())
        slowest = max(each.active_after_s.values(), default=0.0)
        waves = " → ".join(", ".join(wave) for wave in each.waves) or "published, not rolled out"
        active = f"{len(each.active_after_s)} devices, the last after {slowest:.1f} s" if each.active_after_s else "—"
        rows.append((each.id, each.digest[:16], sizes, waves, active))
    return _table(("release", "manifest digest", "variants", "waves", "active on"), rows)


def _stages(report: LoopReport) -> str:
    return _table(("stage", "at", "evidence"), [(s.name, f"{s.at_s:.1f} s", s.evidence) for s in report.stages])


def _picture(report: LoopReport, picture: Path) -> str:
    kind = "png" if picture.suffix == ".png" else "jpeg"
    data = base64.b64encode(picture.read_bytes()).decode()
    counts = ", ".join(
        f"{count:,} × {name}" for name, count in sorted(report.detections.items(), key=lambda kv: -kv[1])
    )
    image = f"<img alt='a video frame with detections' src='data:image/{kind};base64,{data}'>"
    return f"{image}<p>Detections: {escape(counts)}.</p>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td class='n'>{escape(c)}</td>" if i < 2 else f"<td>{escape(c)}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"
