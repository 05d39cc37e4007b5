"""The report of a rollout: a table at the end, JSON and a page to keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from rich.table import Table

from simulations.report import rollout_plots as plots
from simulations.report.document import keep_document
from simulations.report.page import STYLE
from simulations.scenarios.rollout.record import Act, Check, RolloutReport


def summary(report: RolloutReport) -> Table:
    """One line an act, and what did not hold."""
    said = "[green]everything was seen[/]" if report.held else "[red]not everything was seen[/]"
    title = f"{report.devices} devices, seed {report.seed}, {report.seconds:.0f} s: {said}"
    table = Table(title=title, title_justify="left")
    for header in ("act", "accuracy", "outcome", "evidence"):
        table.add_column(header)
    for act in report.acts:
        table.add_row(
            f"{act.name}\n{act.release}",
            f"{act.accuracy:.3f}",
            _outcome(act),
            act.reason or "\n".join(_evidence(act)) or "nothing to compare with",
            style="" if all(check.held for check in act.checks) else "red",
            end_section=True,
        )
    for where, check in missing(report):
        table.add_row(where, "", check.name, check.said, style="bold red")
    return table


def missing(report: RolloutReport) -> Iterator[tuple[str, Check]]:
    """What did not hold, and in which act."""
    for act in report.acts:
        yield from ((act.name, check) for check in act.checks if not check.held)
    yield from (("at the end", check) for check in report.checks if not check.held)


def _outcome(act: Act) -> str:
    took = f"{act.state} in {act.ended_s - act.began_s:.0f} s"
    active = sum(wave.active for wave in act.waves)
    return f"{took}\nserves on {active}" if act.state == "done" else f"{took}\nseen by {len(act.reached)}"


def _evidence(act: Act) -> Iterator[str]:
    for number, wave in enumerate(act.waves, 1):
        for gate in wave.gates:
            if gate.gate == "accuracy":
                yield f"wave {number}: {gate.verdict}, {gate.measured or 0:+.3f} over {gate.inputs} labels"


def keep(report: RolloutReport, directory: Path) -> None:
    """Write `rollout.json` and `rollout.html`."""
    keep_document(report, directory, "rollout.json")
    (directory / "rollout.html").write_text(page(report))


def page(report: RolloutReport) -> str:
    """As a page that needs nothing else."""
    verdict = "Only the good releases stayed" if report.held else "Not everything was seen"
    parts = [
        f"<h1 class='{'good' if report.held else 'bad'}'>{verdict}</h1>",
        f"<p class='lead'>Scenario <code>{escape(report.scenario)}</code>, seed {report.seed}, {report.devices} "
        f"devices at {len(set(report.sites.values()))} sites, {report.seconds:.0f} seconds; the canaries are "
        f"{escape(', '.join(report.canaries))}.</p>",
        _section("All releases over time", plots.story(report)),
        *(_act(act) for act in report.acts),
        _section("At the end", _checks(report.checks)),
        _section(
            "Read this with the figures", "<ul>" + "".join(f"<li>{escape(n)}</li>" for n in report.notes) + "</ul>"
        ),
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Hinterland: {escape(report.scenario)}</title>"
        f"<style>{STYLE}</style><main>{''.join(parts)}</main></html>\n"
    )


def _act(act: Act) -> str:
    lead = f"{escape(act.words)}. Accuracy of the file {act.accuracy:.3f}; {escape(act.state)}"
    lead += f": {escape(act.reason)}" if act.reason else ""
    pictures = plots.stages(act) + (plots.capital(act) if act.looks else "")
    body = f"<p>{lead}</p>{pictures}{_waves(act)}{_checks(act.checks)}"
    return _section(f"{act.name}: {act.release}", body)


def _waves(act: Act) -> str:
    rows: list[Sequence[str]] = []
    for number, wave in enumerate(act.waves, 1):
        sizes = (str(number), str(wave.devices), str(wave.asked), str(wave.active), str(wave.failed))
        if not wave.gates:
            rows.append((*sizes, "—", *[""] * 5))
        for gate in wave.gates:
            measured = "—" if gate.measured is None else f"{gate.measured:+.4f}"
            capital = f"{gate.not_worse:.1f} / {gate.worse:.1f} of {gate.needed:.1f}" if gate.needed else ""
            rows.append((*sizes, gate.gate, gate.verdict, measured, f"{gate.bound:g}", str(gate.inputs), capital))
    head = (
        "wave", "devices", "asked", "active", "failed", "gate", "verdict", "measured", "bound", "inputs",
        "log capital: not worse / worse",
    )  # fmt: skip
    return _table(head, rows)


def _checks(checks: Sequence[Check]) -> str:
    return _table(("what must hold", "", "seen"), [(c.name, "✓" if c.held else "✗", c.said) for c in checks])


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
