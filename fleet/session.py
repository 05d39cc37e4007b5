"""What every command shares: the coordinator it talks to, how it shows answers, how it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fleet.client import Client
from fleet.profile import Choice, Profile, choose
from shared.errors import HinterlandError

Why = Annotated[str, typer.Option("--reason", help="For the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]


def profile(context: typer.Context) -> Profile:
    """The profile that options, environment and file come to.

    Raises:
        RefusedError: they do not come to one.
    """
    said = context.find_root().obj
    return choose(said if isinstance(said, Choice) else Choice(), environ=os.environ, home=Path.home())


@contextmanager
def connected(context: typer.Context) -> Iterator[Client]:
    """A client for the chosen coordinator; our own errors end the command with one line and status 1."""
    with one_line():
        chosen = profile(context)
        with Client(chosen.url, key=chosen.key, ca=Path(chosen.ca).expanduser() if chosen.ca else None) as client:
            yield client


@contextmanager
def one_line() -> Iterator[None]:
    """Show our own errors as one line with the remedy."""
    try:
        yield
    except HinterlandError as error:
        fail(str(error), remedy=error.hint)


def fail(message: str, *, remedy: str = "") -> NoReturn:
    """End the command with status 1."""
    typer.echo(f"hinterland: {message.rstrip('.')}." + (f" Remedy: {remedy}" if remedy else ""), err=True)
    raise typer.Exit(1)


def show(document: Any, tables: Table | Sequence[Table], *, as_json: bool) -> None:
    """Print `document` as JSON, or `tables`."""
    if as_json:
        print_json(document)
        return
    # A pipe has no width of its own: lines are left whole for grep.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for table in [tables] if isinstance(tables, Table) else tables:
        title, table.title = table.title, None  # as wide as it is, not as wide as the columns happen to be
        console.print(title, style="bold")
        console.print(table)


def print_json(document: Any) -> None:
    """Print `document` as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
