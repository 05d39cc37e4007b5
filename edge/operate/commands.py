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
    app.command(epilog="Example:  hinterland-agent top --once")(top)
    app.command(epilog="Example:  hinterland-agent doctor --json")(doctor)


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


Once = Annotated[bool, typer.Option(help="Show it once and end.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document a line, for programs.")]


def top(config: Config = CONFIG, once: Once = False, json: Json = False) -> None:
    """Show what the agent that runs is doing: pipelines, latencies, drops, processes, link; `q` ends it."""
    guarded(lambda: _watched(config, once=once, json=json))


def _watched(config: Path, *, once: bool, json: bool) -> None:
    import sys
    from itertools import islice

    import msgspec

    from edge.operate.status_socket import watch
    from edge.operate.top import render, show

    statuses = watch(conf.read(config).state)
    if json:
        for status in islice(statuses, 1) if once else statuses:
            print(msgspec.json.encode(status).decode(), flush=True)
    elif once or not sys.stdout.isatty():
        earlier, now = (*islice(statuses, 2),)
        print("\n".join(render(now, earlier)))
    else:
        show(statuses, sys.stdout)


def doctor(config: Config = CONFIG, json: Json = False) -> None:
    """Look at everything the agent needs, also while it runs; status 1 if something cannot work. Writes nothing."""
    guarded(lambda: _doctor(config, json=json))


def _doctor(config: Path, *, json: bool) -> None:
    import logging

    import msgspec

    from edge.facts import LinuxFacts
    from edge.operate.doctor import Level, examine, worst
    from shared.clock import SystemClock

    findings = []
    logging.disable(logging.ERROR)  # what they would say is a finding here
    try:
        for finding in examine(config, facts=LinuxFacts(), clock=SystemClock()):
            findings.append(finding)
            if json:
                print(msgspec.json.encode(finding).decode(), flush=True)
            else:
                remedy = f"\n{'':24}{finding.remedy}" if finding.remedy else ""
                print(f"{finding.level.value:5} {finding.name:16}  {finding.text}{remedy}", flush=True)
    finally:
        logging.disable(logging.NOTSET)
    if worst(findings) is Level.FAIL:
        raise typer.Exit(1)


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
