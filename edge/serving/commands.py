"""`hinterland-agent token`: who may ask this device's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import settings as conf
from edge.terminal import CONFIG, Config, guarded

if TYPE_CHECKING:
    from edge.serving.tokens import Tokens

Name = Annotated[str, typer.Argument(help="Who it is for: lower-case letters, digits and hyphens.")]

app = typer.Typer(no_args_is_help=True, help="Tokens of those who may ask this device's models.")


@app.command(epilog="Example:  hinterland-agent token create line-3-plc")
def create(name: Name, config: Config = CONFIG) -> None:
    """Make a token and print it; the device keeps its digest only, so that nobody can print it again."""
    guarded(lambda: print(_create(config, name)))


@app.command("list", epilog="Example:  hinterland-agent token list")
def list_(config: Config = CONFIG) -> None:
    """Names of the tokens, and when they were made."""
    guarded(lambda: print(_list(config)))


@app.command(epilog="Example:  hinterland-agent token revoke line-3-plc")
def revoke(name: Name, config: Config = CONFIG) -> None:
    """Take a token back; the next request with it is refused, also by an agent that runs."""
    guarded(lambda: _tokens(config).revoke(name))


def _create(config: Path, name: str) -> str:
    from secrets import token_urlsafe

    from shared.clock import SystemClock

    return _tokens(config).create(name, at=SystemClock().now(), draw=token_urlsafe)


def _list(config: Path) -> str:
    from datetime import UTC, datetime

    entries = _tokens(config).entries()
    lines = [f"{each.name}\t{datetime.fromtimestamp(each.created, UTC):%Y-%m-%d %H:%M} UTC" for each in entries]
    return "\n".join(lines) or "There are none."


def _tokens(config: Path) -> Tokens:
    from edge.serving.tokens import Tokens

    return Tokens(Tokens.place(conf.read(config).state))
