"""The report of a crowd: a table at the end, and JSON to keep."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from simulations.report.document import keep_document
from simulations.scenarios.crowd.record import CrowdReport


def summary(report: CrowdReport) -> Table:
    """The figures that decide, and what did not hold."""
    said = "[green]everything was seen[/]" if report.held else "[red]not everything was seen[/]"
    title = f"{report.devices} virtual devices, seed {report.seed}, {report.seconds:.0f} s: {said}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _rows(report):
        table.add_row(name, value)
    for check in report.checks:
        mark = "[green]✓[/]" if check.held else "[bold red]✗[/]"
        table.add_row(f"{mark} {check.name}", check.said)
    return table


def _rows(report: CrowdReport) -> list[tuple[str, str]]:
    memory, arrivals = report.memory, report.arrivals
    acts = [
        (
            act.release,
            f"{act.state} in {act.ended_s - act.began_s:.0f} s, {sum(wave.asked for wave in act.waves)} asked, status "
            f"updates p99 {act.latency.p99_ms:.1f} ms" + (f": {act.reason}" if act.reason else ""),
        )
        for act in report.acts
    ]
    turns = ", ".join(f"{when} {took:.0f} ms" for when, took in report.keeper_turn_ms.items())
    return [
        *acts,
        ("arrivals", f"{arrivals.mean:.0f} batches a second, {arrivals.busiest:.0f} in the busiest ten seconds"),
        (
            "coordinator's memory",
            f"{memory.before_mib:.0f} → {memory.most_mib:.0f} MiB: {memory.per_device_kib:.2f} KiB a device",
        ),
        ("database", f"{memory.database_kib:.1f} KiB a device"),
        (
            "signed state",
            f"{memory.desired_versions} versions seen, the largest {memory.desired_most_kib:.0f} KiB, "
            f"{memory.desired_bytes:.0f} bytes a device named in it",
        ),
        ("keeper's turn", turns),
        ("sent again", f"{report.resent}; {report.late} left late"),
    ]


def keep(report: CrowdReport, directory: Path) -> None:
    """Write `crowd.json`."""
    keep_document(report, directory, "crowd.json")
