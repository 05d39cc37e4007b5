"""What federated runs disclosed about populations, and what may be."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, connected, show
from shared.privacy import Budget

privacy_app = typer.Typer(no_args_is_help=True, help="What private runs spent of each population's budget.")


@privacy_app.command("list", epilog="Example: hinterland privacy list --json")
def list_populations(context: typer.Context, as_json: Json = False) -> None:
    """List populations: ε spent over all runs, what was promised, and the run that spent last."""
    with connected(context) as client:
        found = client.populations()
        rows = [
            (
                each.population,
                f"{each.epsilon:.4g} at δ {each.delta:g}",
                "none" if each.budget_epsilon is None else f"{each.budget_epsilon:g} at δ {each.budget_delta:g}",
                str(len(each.disclosures)),
                f"{each.disclosures[-1].run} {each.disclosures[-1].round}" if each.disclosures else "",
            )
            for each in found
        ]
        columns = ("population", "ε spent", "budget", "disclosures", "last run, round")
        show(found, tables.table("Privacy budgets", columns, rows), as_json=as_json)


@privacy_app.command(epilog="Example: hinterland privacy budget activity --epsilon 8 --delta 1e-5 --reason 'as agreed'")
def budget(
    context: typer.Context,
    population: Annotated[str, typer.Argument(help="Its name: that of the task, if the run's terms name no other.")],
    epsilon: Annotated[float, typer.Option(help="What all runs together may spend.")],
    delta: Annotated[float, typer.Option(help="At which δ; well below one by the number of devices.")],
    reason: Annotated[str, typer.Option(help="What was promised to whom; for the audit log.")],
) -> None:
    """Promise a population a budget: orders that ask for more are refused from now on."""
    with connected(context) as client:
        client.set_privacy_budget(population, Budget(epsilon=epsilon, delta=delta, reason=reason))
        typer.echo(f"{population} is promised ε = {epsilon:g} at δ = {delta:g}.")
