"""API keys, and who one is."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet import tables
from fleet.session import Json, Why, connected, print_json, show
from shared.access import KeyRequest

keys_app = typer.Typer(no_args_is_help=True, help="API keys of people and programs.")

DAY_S = 86_400.0


def whoami(context: typer.Context, as_json: Json = False) -> None:
    """Show whom the key or token names, its roles, and the fleets they count in."""
    with connected(context) as client:
        found = client.whoami()
        rows = [("name", found.name), ("tenant", found.tenant)]
        rows += [("roles", ", ".join(found.roles) or "none"), ("fleets", ", ".join(found.fleets) or "none")]
        show(found, tables.table("You are", ("", ""), rows), as_json=as_json)


@keys_app.command("list")
def list_keys(context: typer.Context, as_json: Json = False) -> None:
    """List keys, revoked ones too; never the keys themselves."""
    with connected(context) as client:
        found = client.keys()
        show(found, tables.keys(found), as_json=as_json)


@keys_app.command(epilog="Example: hinterland keys create ann --role operator --fleet wards --days 90")
def create(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key it is; names are never used again.")],
    role: Annotated[list[str], typer.Option(help="viewer, operator, release-manager or admin; may be repeated.")],
    fleet: Annotated[list[str] | None, typer.Option(help="Where the role counts; every fleet if left out.")] = None,
    days: Annotated[float, typer.Option(help="Until it expires; 0 for never.", min=0)] = 0.0,
    reason: Why = "",
    as_json: Json = False,
) -> None:
    """Make a key. It is shown here and never again."""
    with connected(context) as client:
        request = KeyRequest(
            name=name, roles=role, fleets=fleet or ["*"], ttl_s=days * DAY_S if days else None, reason=reason
        )
        issued = client.create_key(request)
        if as_json:
            print_json(issued)
        else:
            typer.echo(issued.key)


@keys_app.command(epilog="Example: hinterland keys revoke ann --reason 'left the company'")
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose key.")],
    reason: Annotated[str, typer.Option(help="For the audit log.")],
) -> None:
    """Take a key out of use, at once."""
    with connected(context) as client:
        client.revoke_key(name, reason=reason)
        typer.echo(f"The key of {name} is revoked.")
