"""The report of attacks: a line while they are carried out, a table at the end, JSON and a page to keep."""

from __future__ import annotations

import html
from pathlib import Path

from rich.table import Table
from rich.text import Text

from simulations.report.document import keep_document
from simulations.scenarios.attacks.row import AttackReport, Row

SHOWN = 110
"""Characters of a victim's words on the terminal; the files have all of them."""


def line(row: Row) -> Text:
    """One row while it is fresh."""
    mark, style = ("✓", "green") if row.held else ("✗", "bold red")
    said = row.fault or row.error or row.observed
    text = Text(f"{mark} ", style=style)
    text.append(f"{row.id:<34}", style="")
    text.append(f"{row.seconds:6.2f} s  ", style="dim")
    return text.append(said.replace("\n", " ")[:SHOWN], style="red" if row.fault else "dim")


def summary(report: AttackReport) -> Table:
    """One line a threat."""
    table = Table(title=f"{len(report.rows)} attacks in {report.seconds:.0f} s")
    for header in ("threat", "attacks", "refused", "controls accepted", "not carried out"):
        table.add_column(header, justify="left" if header == "threat" else "right")
    for threat in dict.fromkeys(row.threat for row in report.rows):
        rows = [row for row in report.rows if row.threat == threat]
        counts = (
            len(rows),
            sum(r.refused for r in rows),
            sum(r.accepted for r in rows),
            sum(bool(r.fault) for r in rows),
        )
        table.add_row(threat or "?", *map(str, counts), style="" if all(row.held for row in rows) else "bold red")
    return table


def keep(report: AttackReport, directory: Path) -> None:
    """Write `attacks.json` and `attacks.html`."""
    keep_document(report, directory, "attacks.json")
    (directory / "attacks.html").write_text(page(report))


def page(report: AttackReport) -> str:
    """As a page that needs nothing else."""
    body = "\n".join(map(_page_row, report.rows))
    held = sum(row.held for row in report.rows)
    return _PAGE.format(held=held, count=len(report.rows), seconds=report.seconds, body=body)


def _page_row(row: Row) -> str:
    cells = [
        row.id, row.threat, row.victim, row.done, "refused" if row.refused else "NOT REFUSED",
        row.fault or row.error or "(silence)", row.observed, row.control,
        "accepted" if row.accepted else "NOT ACCEPTED", f"{row.seconds:.2f}",
    ]  # fmt: skip  # a row
    style = "" if row.held else ' class="bad"'
    return f"<tr{style}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Attacks</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ddd; padding: .3rem .5rem; text-align: left; vertical-align: top; }}
.bad td {{ background: #fdd; }}
</style>
<h1>Attacks</h1>
<p>{held} of {count} attacks were carried out, refused, and had their honest control accepted, in {seconds:.0f} s.</p>
<table><tr><th>attack</th><th>threat</th><th>victim</th><th>what was done</th><th></th><th>what the victim said</th>
<th>observed</th><th>control</th><th></th><th>s</th></tr>
{body}
</table></html>
"""
