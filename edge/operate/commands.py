"""Commands of `hinterland-agent` for whoever looks after a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import settings as conf
from edge.terminal import CONFIG, Config, guarded
from shared.errors import RefusedError


def register(app: typer.Typer) -> None:
    """Add them to the agent's commands."""
    app.command(epilog="Example:  hinterland-agent check --config /etc/hinterland/agent.toml")(check)
    app.command(epilog="Example:  sudo hinterland-agent install --config /etc/hinterland/agent.toml")(install)


def check(config: Config = CONFIG) -> None:
    """Check the settings file: unknown and wrong fields, names given twice, files that are not there."""
    guarded(lambda: print(_checked(config)))


User = Annotated[str, typer.Option(help="Whom the agent runs as.")]
Show = Annotated[bool, typer.Option("--print", help="Print the unit, and write nothing.")]


def install(config: Config = CONFIG, user: User = "hinterland", show: Show = False) -> None:
    """Write the unit file with which systemd starts, watches and fences the agent."""
    guarded(lambda: print(_installed(config, user, show=show)))


def _installed(config: Path, user: str, *, show: bool) -> str:
    from edge.operate import unit

    settings = conf.read(config)
    text = unit.make_unit(settings, config=config, user=user, groups=unit.groups_here(), command=unit.this_command())
    if show:
        return text.rstrip()
    path = unit.install(text, user=user)
    return f"{path} is written. Next:\n  systemctl daemon-reload\n  systemctl enable --now {path.name}"


def _checked(config: Path) -> str:
    from edge.operate.settings_check import find_faults

    settings = conf.read(config)
    if faults := find_faults(settings):
        raise RefusedError(
            "\n".join(f"{config}: {fault}" for fault in faults), hint="docs/devices.md explains each field."
        )
    lines = [f"{config} is good."]
    lines += [f"  {each.name}: {each.source.__struct_config__.tag} feeds {each.model}" for each in settings.pipelines]
    return "\n".join(lines)
