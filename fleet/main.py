"""`hinterland`: the operators' command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.commands.apply import EPILOG as APPLY
from fleet.commands.apply import apply
from fleet.commands.approvals import approve, reject
from fleet.commands.audit import audit_app
from fleet.commands.devices import device_app, devices, token_app
from fleet.commands.fleets import fleets_app
from fleet.commands.insight import drift, events, status, telemetry
from fleet.commands.jobs import evaluate_release, evaluate_run, jobs_app
from fleet.commands.keys import keys_app, whoami
from fleet.commands.models import models_app, releases_app
from fleet.commands.privacy import privacy_app
from fleet.commands.quarantine import quarantine_app
from fleet.commands.rollouts import rollouts_app
from fleet.commands.runs import runs_app
from fleet.commands.tap import tap
from fleet.extensions import ExtensibleGroup
from fleet.profile import Choice

EPILOG = """
Examples:

  hinterland --profile /var/lib/hinterland-coordinator/cli.toml devices

  hinterland device why watch-1

  hinterland runs start activity && hinterland runs watch

  hinterland events --follow --json
"""

app = typer.Typer(
    cls=ExtensibleGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Operate a fleet: devices train on their own data, good models come back signed.",
    epilog=EPILOG,
)


@app.callback()
def choose(
    context: typer.Context,
    profile: Annotated[Path | None, typer.Option(help="Profile file [HINTERLAND_PROFILE].")] = None,
    url: Annotated[str, typer.Option(help="The coordinator's API [HINTERLAND_URL].")] = "",
    ca: Annotated[str, typer.Option(help="File with its certificate authority [HINTERLAND_CA].")] = "",
    key: Annotated[str, typer.Option(help="API key [HINTERLAND_KEY].", show_default=False)] = "",
) -> None:
    """Remember which coordinator is meant; ~/.config/hinterland/cli.toml when nothing says."""
    context.obj = Choice(profile=profile, url=url, ca=ca, key=key)


for command in (status, whoami, devices, drift, telemetry, events, tap):
    app.command()(command)
app.command("apply", epilog=APPLY)(apply)
for decision in (approve, reject):
    releases_app.command(epilog=f"Example: hinterland releases {decision.__name__} activity-2 --reason 'looked at it'")(
        decision
    )
releases_app.command("evaluate", epilog="Example: hinterland releases evaluate activity-1 --data clinic")(
    evaluate_release
)
runs_app.command("evaluate", epilog="Example: hinterland runs evaluate activity-run-1 --data clinic")(evaluate_run)
app.add_typer(keys_app, name="keys")
app.add_typer(device_app, name="device")
app.add_typer(token_app, name="token")
app.add_typer(fleets_app, name="fleets")
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(jobs_app, name="jobs")
app.add_typer(privacy_app, name="privacy")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(releases_app, name="releases")
app.add_typer(rollouts_app, name="rollouts")
app.add_typer(audit_app, name="audit")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
