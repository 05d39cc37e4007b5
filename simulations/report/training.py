"""The report of a simulated training: a table at the end, JSON and a page to keep."""

from __future__ import annotations

from html import escape
from pathlib import Path

from matplotlib import pyplot as plt
from rich.table import Table

from simulations.report.document import keep_document
from simulations.report.page import STYLE
from simulations.report.plots import COLOURS, svg
from simulations.scenarios.training.record import TrainingReport

HEAD = ("round", "updates", "seconds", "updates/s", "loss", "accuracy")


def summary(report: TrainingReport) -> Table:
    """A line a round, and what did not hold."""
    said = "[green]everything held[/]" if report.held else "[red]not everything held[/]"
    title = (
        f"{report.clients} clients, {report.task}, {report.strategy} over the {report.grid} grid, seed {report.seed}, "
        f"{report.updates_a_second:.0f} updates a second: {said}"
    )
    table = Table(title=title, title_justify="left")
    for name in HEAD:
        table.add_column(name, justify="right")
    table.add_row("0", "", "", "", "", f"{report.accuracy_before:.4f}")
    for row in _rows(report):
        table.add_row(*row)
    marks = [f"{'[green]✓[/]' if c.held else '[bold red]✗[/]'} {c.name}: {c.said}" for c in report.checks]
    table.caption, table.caption_justify = "\n".join(marks), "left"
    return table


def _rows(report: TrainingReport) -> list[tuple[str, ...]]:
    return [
        (
            str(each.round),
            str(each.updates),
            f"{each.seconds:.2f}",
            f"{each.updates / max(each.seconds, 1e-9):.0f}",
            f"{each.loss:.4f}",
            f"{each.accuracy:.4f}",
        )
        for each in report.rounds
    ]


def keep(report: TrainingReport, directory: Path) -> None:
    """Write `training.json` and `training.html`."""
    keep_document(report, directory, "training.json")
    (directory / "training.html").write_text(page(report))


def page(report: TrainingReport) -> str:
    """As a page that needs nothing else."""
    cells = "".join(f"<th>{name}</th>" for name in HEAD)
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in _rows(report))
    checks = "".join(
        f"<tr><td>{escape(c.name)}</td><td>{'✓' if c.held else '✗'}</td><td>{escape(c.said)}</td></tr>"
        for c in report.checks
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    parts = [
        f"<h1 class='{'good' if report.held else 'bad'}'>{report.updates_a_second:.0f} client updates a second</h1>",
        f"<p class='lead'>Scenario <code>{escape(report.scenario)}</code>, seed {report.seed}: {report.clients} "
        f"clients of {report.fewest} to {report.most} pictures (skew {report.alpha:g}), "
        f"<code>{escape(report.task)}</code>, {escape(report.strategy)} over the {escape(report.grid)} grid on "
        f"{report.cores} cores, {report.seconds:.0f} seconds.</p>",
        f"<section><h2>Round by round</h2>{_plot(report)}<table><tr>{cells}</tr>{rows}</table></section>",
        f"<section><h2>At the end</h2><p>Digest <code>{escape(report.digest)}</code></p>"
        f"<table>{checks}</table></section>",
        f"<section><h2>Read this with the figures</h2><ul>{notes}</ul></section>",
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Hinterland: {escape(report.scenario)}</title>"
        f"<style>{STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def _plot(report: TrainingReport) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.6), layout="constrained")
    numbers = [each.round for each in report.rounds]
    accuracies = [report.accuracy_before, *(each.accuracy for each in report.rounds)]
    left.plot([0, *numbers], accuracies, color=COLOURS[0], marker=".")
    left.set(xlabel="round", ylabel="accuracy on the test pictures", ylim=(0, 1))
    right.bar(numbers, [each.seconds for each in report.rounds], color=COLOURS[1])
    right.set(xlabel="round", ylabel="seconds")
    return svg(figure)
