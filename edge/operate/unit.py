"""The agent as a service of systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path

from edge import settings as conf
from shared.errors import RefusedError

NAME = "hinterland-agent.service"
PLACE = Path("/etc/systemd/system")
VAR = Path("/var/lib")

UNIT = """\
# Written by `hinterland-agent install`; changes of your own belong into `systemctl edit {name}`.
[Unit]
Description=Hinterland agent
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.exec.html
# Only after, never with: a device without a network still infers.
After=network.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run --config {config}
User={user}
# Cameras, serial lines and GPUs, where these groups exist.
SupplementaryGroups={groups}
Restart=always
RestartSec=2
# Loading models may take load_s each; silence of this length in service is a hang, and is told by SIGABRT (whose
# trace of every thread goes to the journal).
TimeoutStartSec=300
WatchdogSec=60
# The agent ends its work, has its last records acknowledged and is gone within 25 s; models die with it.
TimeoutStopSec=40
KillMode=mixed
# A model over its memory is the agent's to handle, and no end of the service.
OOMPolicy=continue
LimitNOFILE=65536

UMask=0077
{writable}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
# With these a model's process gives up its own rights; systemd's set leaves them out.
SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
# Not set, on purpose: MemoryDenyWriteExecute (OpenVINO and torch write machine code), PrivateDevices (cameras),
# ProcSubset (free memory is read from /proc/meminfo).

[Install]
WantedBy=multi-user.target
"""

GROUPS = ("video", "render", "dialout")


def make_unit(settings: conf.Settings, *, config: Path, user: str, groups: list[str], command: Path) -> str:
    """The unit's text."""
    places = {settings.state.absolute(), settings.data.absolute()}
    places |= {Path(each.snapshot).absolute().parent for each in settings.pipelines if each.snapshot}
    return UNIT.format(
        name=NAME,
        command=_quoted(command),
        config=_quoted(config.absolute()),
        user=user,
        groups=" ".join(groups),
        writable="\n".join(_writable(settings.state.absolute(), places)),
    )


def _writable(state: Path, places: set[Path]) -> list[str]:
    """What the service may write; what lies below /var/lib systemd makes, and gives to the service's user."""
    lines = []
    if state.is_relative_to(VAR) and state != VAR:
        lines += [f"StateDirectory={_quoted(state.relative_to(VAR))}", "StateDirectoryMode=0700"]
    elsewhere = sorted(each for each in places if not (lines and each.is_relative_to(state)))
    return lines + [f"ReadWritePaths={_quoted(each)}" for each in elsewhere]


def install(text: str, *, user: str, place: Path = PLACE) -> Path:
    """Write the unit.

    Raises:
        RefusedError: there is no such user, or no systemd.
        OSError: it cannot be written.
    """
    try:
        pwd.getpwnam(user)
    except KeyError as error:
        raise RefusedError(
            f"there is no user {user!r}",
            hint=f"sudo useradd --system --home-dir /var/lib/hinterland --shell /usr/sbin/nologin {user}",
        ) from error
    if not place.is_dir():
        raise RefusedError(f"{place} is not there", hint="Without systemd, keep `hinterland-agent run` going yourself.")
    unit = place / NAME
    unit.write_text(text)
    return unit


def this_command() -> Path:
    """The agent's console script, as the service will start it.

    Raises:
        RefusedError: it is not installed.
    """
    beside = Path(sys.executable).with_name("hinterland-agent")
    found = beside if os.access(beside, os.X_OK) else shutil.which("hinterland-agent")
    if not found:
        raise RefusedError("hinterland-agent is not installed", hint="Install it with pip, as docs/devices.md shows.")
    return Path(found).absolute()


def groups_here() -> list[str]:
    """Those of `GROUPS` that this machine has."""
    import grp

    return [name for name in GROUPS if any(each.gr_name == name for each in grp.getgrall())]


def _quoted(path: Path) -> str:
    """As systemd reads it: `%` begins a specifier, and quotes and backslashes have to be escaped."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(each in text for each in " \t'\"") else text
