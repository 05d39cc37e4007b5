"""What the agent's commands share: which settings file, and how an error is told to a person."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import HinterlandError

CONFIG = Path("/etc/hinterland/agent.toml")
"""Where the settings file is unless somebody says otherwise."""

Config = Annotated[Path, typer.Option(help="The agent's settings file (TOML).")]


def guarded(work: Callable[[], object]) -> None:
    """Run `work`; its errors are one sentence and a remedy, and status 1."""
    try:
        work()
    except HinterlandError as error:
        print(f"{error}\nRemedy: {error.hint}" if error.hint else error, file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        print(f"{error}\nRemedy: check the path and its rights.", file=sys.stderr)
        raise typer.Exit(1) from None
