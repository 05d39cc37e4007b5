"""The summary that a person reads on the terminal."""

from __future__ import annotations

from rich.table import Table

from simulations.report.record import LoopReport


def summary(report: LoopReport) -> Table:
    """A table of the figures that decide whether the loop closed."""
    closed = "[green]yes[/]" if report.loop_closed else f"[red]no: {', '.join(report.missing)}[/]"
    table = Table(title=f"Loop, seed {report.seed}, {report.duration_s:.0f} s", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    accuracy, inference, telemetry = report.accuracy, report.inference, report.telemetry
    rows = [
        ("loop closed", closed),
        ("devices", f"{len(report.devices)}, of which {len(report.shifted_devices)} shifted"),
        ("accuracy before drift", f"{accuracy.before_drift:.3f}"),
        ("accuracy under drift", f"{accuracy.under_drift:.3f}"),
        ("accuracy after retraining", f"{accuracy.after_retrain:.3f}"),
        ("drift", f"alarm {report.drift.detected_after_s:.1f} s after the shift, score {report.drift.score:.2f}"),
        ("rounds", f"{len(report.rounds)} in {len(report.runs)} runs"),
        (
            "inference",
            f"{inference.windows:,} windows, {inference.frames:,} frames, p50 {inference.p50_ms:.2f} ms, "
            f"p99 {inference.p99_ms:.2f} ms, {inference.errors} errors",
        ),
        (
            "telemetry",
            f"{telemetry.sent:,} sent, {telemetry.stored:,} stored, {telemetry.lost} lost, "
            f"{telemetry.duplicated} duplicated",
        ),
    ]
    for release in report.releases:
        sizes = ", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in release.size.items())
        last = max(release.active_after_s.values(), default=0.0)
        where = f"active on {len(release.active_after_s)} in {last:.1f} s" if release.active_after_s else "published"
        rows.append((release.id, f"{release.digest[:12]}  {sizes}  {where}"))
    for name, value in rows:
        table.add_row(name, value)
    return table
