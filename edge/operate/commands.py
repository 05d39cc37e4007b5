"""Commands of `hinterland-agent` for whoever looks after a device."""

from __future__ import annotations

from pathlib import Path

import typer

from edge import settings as conf
from edge.terminal import CONFIG, Config, guarded
from shared.errors import RefusedError


def register(app: typer.Typer) -> None:
    """Add them to the agent's commands."""
    app.command(epilog="Example:  hinterland-agent check --config /etc/hinterland/agent.toml")(check)


def check(config: Config = CONFIG) -> None:
    """Check the settings file: unknown and wrong fields, names given twice, files that are not there."""
    guarded(lambda: print(_checked(config)))


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
