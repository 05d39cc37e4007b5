"""Commands that other packages add, found by name and loaded when they are used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
import typer
from typer.core import TyperGroup

GROUP = "hinterland.commands"
"""Entry-point group: `name = "package.module:app"`, a Typer application."""


class ExtensibleGroup(TyperGroup):
    """Our own commands, and those of other packages after them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *sorted(entry.name for entry in entry_points(group=GROUP) if entry.name not in own)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = next(iter(entry_points(group=GROUP, name=cmd_name)), None)
        return None if entry is None else _Deferred(entry)


class _Deferred(click.Command):
    """Hands all arguments on to a command that is imported only then."""

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(
            entry.name,
            help=f"Added by {entry.module.partition('.')[0]}; see `hinterland {entry.name} --help`.",
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
        )
        self._entry = entry

    def invoke(self, ctx: click.Context) -> Any:
        command = typer.main.get_command(_load(self._entry))
        ctx.exit(command.main(args=ctx.args, prog_name=ctx.command_path, standalone_mode=False) or 0)


def _load(entry: EntryPoint) -> typer.Typer:
    try:
        loaded = entry.load()
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"`{entry.name}` needs the package {error.name}. Remedy: pip install 'hinterland[{entry.name}]'"
        ) from error
    except (ImportError, AttributeError, SyntaxError) as error:
        raise click.ClickException(f"`{entry.name}` cannot be loaded: {error}. Remedy: install it again.") from error
    if not isinstance(loaded, typer.Typer):
        raise click.ClickException(f"`{entry.name}` is no command: {entry.value} is no Typer application.")
    return loaded
