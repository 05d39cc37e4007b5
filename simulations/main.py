"""`hinterland simulate`: the whole system on one machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer
from rich.console import Console

from shared.errors import HinterlandError
from simulations.interruption import listen
from simulations.scenarios.training.plan import GridKind, Plan, StrategyKind

if TYPE_CHECKING:
    from simulations.packages import Data

EPILOG = """
Examples:

  hinterland simulate --scenario loop --seed 7

  hinterland simulate --setup-only

  hinterland simulate --scenario loop --state /tmp/hl --report /tmp/report --json

  hinterland simulate --scenario attacks --json > attacks.json

  hinterland simulate --scenario attacks --only slots

  hinterland simulate --scenario rollout --seed 7

  hinterland simulate --scenario rollout --devices 10000 --json

  hinterland simulate --scenario private --seed 7

  hinterland simulate --scenario poison --seed 7

  hinterland simulate --scenario durable --seed 7

  hinterland simulate --scenario training --clients 1000 --task fashion-linear --alpha 0.1
"""

app = typer.Typer(add_completion=False, help="Run the whole system on this machine.")


class Scenario(StrEnum):
    """What can be played."""

    LOOP = "loop"
    ATTACKS = "attacks"
    ROLLOUT = "rollout"
    PRIVATE = "private"
    POISON = "poison"
    DURABLE = "durable"
    TRAINING = "training"


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
    devices: Annotated[
        int, typer.Option(min=0, help="Of the rollout: this many virtual devices instead of forty real agents.")
    ] = 0,
    clients: Annotated[int, typer.Option(help="Of the training: how many clients.")] = 100,
    rounds: Annotated[int, typer.Option(help="Of the training: how many rounds, all clients in each.")] = 3,
    task: Annotated[str, typer.Option(help="Of the training: fashion, or fashion-linear.")] = "fashion",
    alpha: Annotated[
        float, typer.Option(help="Of the training: skew of the clients' classes, 0.1 strong, 100 none.")
    ] = 0.5,
    strategy: Annotated[
        StrategyKind, typer.Option(help="Of the training: which of Flower's strategies.")
    ] = StrategyKind.FEDAVG,
    grid: Annotated[
        GridKind, typer.Option(help="Of the training: who carries the messages; ray must be installed.")
    ] = GridKind.VECTORISED,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's JSON, or write it to FILE.")] = False,
    file: Annotated[Path | None, typer.Argument(help="Where --json writes to instead of printing.")] = None,
) -> None:
    """Run broker, coordinator, SuperLink and devices as real processes on loopback.

    The loop: drift, training, optimising, judging, signing and rolling out, closed once. Ends with status 0 only if
    every stage was observed.

    The attacks: every threat, carried out on that world, each beside an honest control. Ends with status 0 only if
    every attack was refused and every control accepted.

    The rollout: forty agents, two good releases, and five that must not get beyond their canaries. With --devices,
    as many virtual ones, of which some fail in the third wave. Ends with status 0 only if everything was observed.

    The private: secure aggregation with devices that drop out, noise, and a budget that ends a run. Everything in
    this process, with the devices' real code. Ends with status 0 only if everything was observed.

    The poison: seven poisoned updates from every fifth client against every rule that combines updates, in this
    process. Ends with status 0 only if none cost more than two points of accuracy and the gate named every liar.

    Durable: one federated run left alone, then the same one while coordinator, SuperLink, job, broker, agents and
    trainers are killed forty times. Ends with status 0 only if both ended with the same model, bit for bit.

    The training: many simulated clients in this process, trained together by one of Flower's strategies. Ends with
    status 0 only if every client's update came in every round.

    Ctrl-C stops every process.
    """
    console = Console(stderr=as_json and file is None)
    plan = Plan(task=task, clients=clients, rounds=rounds, alpha=alpha, strategy=strategy, grid=grid)
    own: dict[Scenario, Callable[..., tuple[bool, Path]]] = {
        Scenario.LOOP: _loop,
        Scenario.TRAINING: partial(_training, plan),
    }
    listen()
    try:
        place = Place(state=state, report=report, port_base=port_base, console=console)
        if scenario is Scenario.ATTACKS and not setup_only:
            passed, document = _attacks(place, only=only)
        elif scenario is Scenario.ROLLOUT and devices and not setup_only:
            passed, document = _crowd(place, seed=seed, devices=devices)
        else:
            from simulations.prepare import prepare

            plan.check()
            data = prepare(state, console=console)
            if setup_only:
                return
            tell = own.get(scenario, partial(_story, scenario))
            passed, document = tell(place, data, seed=seed)
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


class Place(NamedTuple):
    """Where a scenario is played and told."""

    state: Path
    report: Path
    port_base: int
    console: Console


def _attacks(place: Place, *, only: str) -> tuple[bool, Path]:
    """Whether it passed, and its JSON; so do the others."""
    from simulations.scenarios.attacks import play as attacks

    attacked = attacks.play(only=only, **place._asdict())
    return attacks.passes(attacked, whole=not only), place.report / "attacks.json"


def _loop(place: Place, data: Data, *, seed: int) -> tuple[bool, Path]:
    from simulations.scenarios.loop import play

    return play(data, seed=seed, **place._asdict()).loop_closed, place.report / "report.json"


def _story(scenario: Scenario, place: Place, data: Data, *, seed: int) -> tuple[bool, Path]:
    play = import_module(f"simulations.scenarios.{scenario.value}.play").play
    told = play(data, seed=seed, **place._asdict())
    return bool(told.held), place.report / f"{scenario.value}.json"


def _training(plan: Plan, place: Place, data: Data, *, seed: int) -> tuple[bool, Path]:
    from simulations.scenarios.training.play import play

    return play(data, plan, seed=seed, **place._asdict()).held, place.report / "training.json"


def _crowd(place: Place, *, seed: int, devices: int) -> tuple[bool, Path]:
    from simulations.scenarios.crowd.play import play

    return play(seed=seed, devices=devices, **place._asdict()).held, place.report / "crowd.json"


def _fail(console: Console, error: HinterlandError) -> NoReturn:
    console.print(f"[red]{error}[/]", soft_wrap=True, highlight=False)
    if error.hint:
        console.print(f"Remedy: {error.hint}", soft_wrap=True, highlight=False)
    raise typer.Exit(1) from None
