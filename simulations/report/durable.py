"""The report of a run under kills: a table at the end and JSON to keep."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from rich.table import Table

from simulations.report.document import keep_document
from simulations.scenarios.durable.record import DurableReport


def summary(report: DurableReport) -> Table:
    """Kills and recoveries by process, then what the run was doing when they came."""
    said = "[green]the same model[/]" if report.held else "[red]not what it should be[/]"
    table = Table(
        title=f"{len(report.kills)} kills, seed {report.seed}, {report.seconds:.0f} s: {said}", title_justify="left"
    )
    for header in ("process", "kills", "back after (median)", "(longest)"):
        table.add_column(header)
    for victim, count in sorted(report.by_victim.items()):
        took = [kill.recovered_s for kill in report.kills if kill.victim == victim]
        table.add_row(victim, str(count), f"{median(took):.1f} s", f"{max(took):.1f} s")
    table.add_section()
    for step, count in sorted(report.by_step.items(), key=lambda item: -item[1]):
        table.add_row(f"during: {step}", str(count), "", "")
    table.add_section()
    for name, told in (("left alone", report.undisturbed), ("under kills", report.killed)):
        table.add_row(name, f"{told.attempts} attempts", f"{told.seconds:.0f} s", told.digest[:12])
    table.add_row("SuperLink's database", "", f"{report.superlink_mib:.1f} MiB", "")
    return table


def keep(report: DurableReport, directory: Path) -> None:
    """Write `durable.json`."""
    keep_document(report, directory, "durable.json")
