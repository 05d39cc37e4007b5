"""Central jobs: first weights and evaluations from data of the company's own."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from fleet import job_tables
from fleet.client import Client
from fleet.session import Json, Why, connected, print_json, show
from shared.jobs import CentralJob, EvaluationRequest

jobs_app = typer.Typer(help="Work on data of the company's own: first weights, evaluations.")

OPEN = frozenset({"queued", "running", "cancelling"})
POLL_S = 1.0

Which = Annotated[str, typer.Argument(help="Which, as `hinterland jobs` lists them.")]
Data = Annotated[str, typer.Option(help="Data set: NAME.npz in the coordinator's data directory.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the result; status 1 unless it clears the bar.")]


@jobs_app.callback(invoke_without_command=True)
def jobs(
    context: typer.Context,
    about: Annotated[str | None, typer.Option(help="Only those about this run or release.")] = None,
    as_json: Json = False,
) -> None:
    """List central jobs."""
    if context.invoked_subcommand is not None:
        return
    with connected(context) as client:
        found = client.jobs(subject=about)
        show(found, job_tables.jobs(found), as_json=as_json)


@jobs_app.command("show", epilog="Example: hinterland jobs show activity-1-evaluation-1")
def show_one(context: typer.Context, job: Which, as_json: Json = False) -> None:
    """Show one job with its result."""
    with connected(context) as client:
        found = client.job(job)
        show(found, job_tables.one_job(found), as_json=as_json)


@jobs_app.command(epilog="Example: hinterland jobs log activity-run-1-warm --follow")
def log(
    context: typer.Context,
    job: Which,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until it ends.")] = False,
) -> None:
    """Print what a job's processes said."""
    with connected(context) as client:
        since = 0
        while True:
            piece = client.job_log(job, since=since)
            typer.echo(piece.text, nl=False)
            if piece.over or (not follow and piece.next == since):
                return
            if piece.next == since:
                time.sleep(POLL_S)
            since = piece.next


@jobs_app.command(epilog="Example: hinterland jobs cancel activity-run-1-warm --reason 'wrong data'")
def cancel(context: typer.Context, job: Which, reason: Why = "") -> None:
    """Want no more of a job; a run that waits for it fails."""
    with connected(context) as client:
        typer.echo(f"{job} is {client.cancel_job(job, reason=reason).state}.")


def evaluate_release(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="Which, for example activity-1.")],
    data: Data,
    reason: Why = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Hold a release against a data set of the company's own; it decides nothing."""
    _evaluate(context, EvaluationRequest(release=release, data=data, reason=reason), wait=wait, as_json=as_json)


def evaluate_run(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="Which, for example activity-run-1.")],
    data: Data,
    reason: Why = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Hold the candidate of a run against a data set of the company's own; it decides nothing."""
    _evaluate(context, EvaluationRequest(run=run, data=data, reason=reason), wait=wait, as_json=as_json)


def _evaluate(context: typer.Context, request: EvaluationRequest, *, wait: bool, as_json: bool) -> None:
    with connected(context) as client:
        found = client.evaluate(request)
        if not wait:
            if as_json:
                print_json(found)
            else:
                typer.echo(f"{found.id} is queued.")
            return
        found = _ended(client, found)
        show(found, job_tables.one_job(found), as_json=as_json)
        raise typer.Exit(0 if found.result.get("admitted") else 1)


def _ended(client: Client, job: CentralJob) -> CentralJob:
    while job.state in OPEN:
        time.sleep(POLL_S)
        job = client.job(job.id)
    return job
