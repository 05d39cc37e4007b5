"""The report of the poisoned runs: a table at the end, and JSON to keep."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from simulations.report.document import keep_document
from simulations.scenarios.poison.record import PoisonReport


def summary(report: PoisonReport) -> Table:
    """A line a run, and what did not hold."""
    said = "[green]everything held[/]" if report.held else "[red]not everything held[/]"
    title = f"{len(report.liars)} of {report.devices} devices lie, seed {report.seed}, {report.seconds:.0f} s: {said}"
    table = Table(title=title, title_justify="left")
    for name in ("rule", "attack", "gate", "accuracy", "points lost", "refused for", "quarantined"):
        table.add_column(name, justify="right" if name in {"accuracy", "points lost"} else "left")
    for each in report.outcomes:
        refused = ", ".join(f"{name} {count}" for name, count in sorted(each.refused.items()))
        who = "all liars" if each.quarantined == report.liars else ", ".join(each.quarantined)
        lost = f"{each.lost:+.2f}" if each.attack else ""
        table.add_row(
            each.rule, each.attack or "nobody lies", each.gate, f"{each.accuracy:.4f}", lost, refused, who or "nobody"
        )
    for check in report.checks:
        mark = "[green]✓[/]" if check.held else "[bold red]✗[/]"
        table.caption = f"{table.caption or ''}{mark} {check.name}: {check.said}\n"
    table.caption_justify = "left"
    return table


def keep(report: PoisonReport, directory: Path) -> None:
    """Write `poison.json`."""
    keep_document(report, directory, "poison.json")
