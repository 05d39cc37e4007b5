"""What federated runs disclosed about populations, and what may be."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, connected, show
from shared.errors import RefusedError
from shared.privacy import Budget, Population

Which = Annotated[str, typer.Argument(help="Which population.")]
Said = Annotated[str, typer.Option("--reason", help="For the audit log.")]
Seen = Annotated[
    str, typer.Option(help="What you looked at: the beginning of its `proposal` digest; what is there now.")
]

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
                _promised(each),
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
        found = client.set_privacy_budget(population, Budget(epsilon=epsilon, delta=delta, reason=reason))
        if found.proposed_epsilon is None:
            typer.echo(f"{population} is promised ε = {epsilon:g} at δ = {delta:g}.")
        else:
            typer.echo(f"A greater budget of {population} waits for others: `hinterland privacy approve {population}`.")


@privacy_app.command(epilog="Example: hinterland privacy approve activity --reason 'the council agreed again'")
def approve(context: typer.Context, population: Which, reason: Said, seen: Seen = "") -> None:
    """Say yes to a greater budget that waits."""
    _vote(context, population, reason=reason, seen=seen, approved=True)


@privacy_app.command(epilog="Example: hinterland privacy reject activity --reason 'nobody asked the council'")
def reject(context: typer.Context, population: Which, reason: Said, seen: Seen = "") -> None:
    """Say no to a greater budget that waits."""
    _vote(context, population, reason=reason, seen=seen, approved=False)


def _vote(context: typer.Context, population: str, *, reason: str, seen: str, approved: bool) -> None:
    with connected(context) as client:
        there = next((each for each in client.populations() if each.population == population), None)
        if there is None or not there.proposal:
            raise RefusedError(f"no greater budget of {population} waits", hint="Look: `hinterland privacy list`.")
        if not there.proposal.startswith(seen):
            raise RefusedError("this is not what you looked at", hint="Look again: `hinterland privacy list --json`.")
        found = client.vote_on_budget(population, digest=there.proposal, approved=approved, reason=reason)
        waits = "still waits" if found.proposed_epsilon is not None else "is promised"
        epsilon, delta = there.proposed_epsilon or 0.0, there.proposed_delta or 0.0
        typer.echo(f"ε = {epsilon:g} at δ = {delta:g} {waits}.")


def _promised(each: Population) -> str:
    said = "none" if each.budget_epsilon is None else f"{each.budget_epsilon:g} at δ {each.budget_delta:g}"
    if each.proposed_epsilon is None:
        return said
    return f"{said}; {each.proposed_epsilon:g} at δ {each.proposed_delta:g} waits, from {each.proposed_by}"
