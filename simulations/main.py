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

  hinterland simulate --scenario attacks --json > attacks.json

  hinterland simulate --scenario attacks --only slots
"""

app = typer.Typer(add_completion=False, help="Run the whole system on this machine.")


class Scenario(StrEnum):
    """What can be played."""

    LOOP = "loop"
    ATTACKS = "attacks"


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
    only: Annotated[str, typer.Option(help="Of the attacks, this family only.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's JSON, or write it to FILE.")] = False,
    file: Annotated[Path | None, typer.Argument(help="Where --json writes to instead of printing.")] = None,
) -> None:
    """Run broker, coordinator, SuperLink and devices as real processes on loopback.

    The loop: drift, training, optimising, judging, signing and rolling out, closed once. Ends with status 0 only if
    every stage was observed.

    The attacks: every threat, carried out on that world, each beside an honest control. Ends with status 0 only if
    every attack was refused and every control accepted.

    Ctrl-C stops every process.
    """
    console = Console(stderr=as_json and file is None)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if scenario is Scenario.ATTACKS and not setup_only:
            from simulations.scenarios.attacks import play as attacks

            attacked = attacks.play(state=state, report=report, only=only, port_base=port_base, console=console)
            passed, document = attacks.passes(attacked, whole=not only), report / "attacks.json"
        else:
            from simulations.prepare import prepare

            data = prepare(state, console=console)
            if setup_only:
                return
            from simulations.scenarios.loop import play

            played = play(data, state=state, report=report, seed=seed, port_base=port_base, console=console)
            passed, document = played.loop_closed, report / "report.json"
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
    if file is not None:
        file.write_text(document.read_text())
    elif as_json:
        sys.stdout.write(document.read_text())
    raise typer.Exit(0 if passed else 1)


def _fail(console: Console, error: HinterlandError) -> NoReturn:
    console.print(f"[red]{error}[/]", soft_wrap=True, highlight=False)
    if error.hint:
        console.print(f"Remedy: {error.hint}", soft_wrap=True, highlight=False)
    raise typer.Exit(1) from None


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
