"""The page for owners of devices draws the update machine from its table."""

from __future__ import annotations

from pathlib import Path

from edge.update.machine import TABLE, TERMINAL
from shared.messages import Stage

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"
BEGIN, END = "<!-- the update machine -->\n", "<!-- end -->"


def drawn() -> str:
    """The table as Markdown: a row for each stage, the events that lead on, and where to."""
    rows = ["| stage | leads to |", "|---|---|"]
    for stage in Stage:
        ways: dict[Stage, list[str]] = {}
        for (before, event), after in TABLE.items():
            if before is stage:
                ways.setdefault(after, []).append(event.value)
        text = "; ".join(f"{', '.join(events)} → `{after}`" for after, events in ways.items())
        name = f"**`{stage}`**" if stage in TERMINAL else f"`{stage}`"
        rows.append(f"| {name} | {text or 'a new attempt only'} |")
    return "\n".join(rows) + "\n"


def test_the_page_draws_the_machine_as_it_is() -> None:
    page = PAGE.read_text()
    assert page[page.index(BEGIN) + len(BEGIN) : page.index(END)] == drawn()
