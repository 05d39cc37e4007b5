"""What systemd is told of the agent: sd_notify(3), which is one datagram to a Unix socket and needs no library."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

log = logging.getLogger(__name__)

MAX_STATUS = 200
"""Characters of a line in `systemctl status`."""


class Notifier:
    """Speaks to the service manager, where there is one; nothing that it does ever fails or blocks."""

    def __init__(self, address: str = "", *, watchdog_s: float = 0.0) -> None:
        """Take the manager's socket, empty for none; an `@` at its head is an abstract one (unix(7))."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s
        """Seconds without a sign of life after which the manager ends this process; 0 where it does not watch."""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], *, pid: int | None = None) -> Notifier:
        """What the manager put into the environment, from which it is taken: no child is to speak in our name."""
        address = environ.pop("NOTIFY_SOCKET", "")
        period, watched = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        mine = watched in ("", str(os.getpid() if pid is None else pid))
        watchdog_s = int(period) / 1e6 if period.isdecimal() and mine else 0.0
        return cls(address if address.startswith(("/", "@")) else "", watchdog_s=watchdog_s)

    def ready(self) -> None:
        """It serves what it can serve."""
        self._say("READY=1")

    def alive(self) -> None:
        """A sign of life."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """It drains."""
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say("STATUS=" + " ".join(text.split())[:MAX_STATUS])

    def _say(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.setblocking(False)
            manager.sendto(text.encode(), self._address)
