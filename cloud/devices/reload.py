"""Beside a broker whose processes the coordinator does not see: have it read its files again when they change.

In a pod of its own, with a process namespace shared with mosquitto's container. A coordinator elsewhere writes the
files; a signal to the process id that it reads there would reach a stranger.
"""

from __future__ import annotations

import logging
import os
import signal
import ssl
from pathlib import Path

from cloud.devices.broker import BrokerFiles
from shared.durable import read_if_present
from shared.ids import sha256

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Seconds between looks: how long a revoked device keeps its rights at most."""

COMMAND = "mosquitto"
"""Name of the process that is signalled; a pid file that outlived its broker may name another one."""


class Reload:
    """Looks at the broker's files, and signals it when what they hold has changed."""

    def __init__(self, files: BrokerFiles, *, processes: Path = Path("/proc")) -> None:
        """Take the files; `processes` is where this machine's processes are listed."""
        self._files = files
        self._processes = processes
        self._told: bytes | None = None

    def look(self) -> bool:
        """Signal the broker if its files have changed since it last read them; whether it was signalled.

        What changes before the broker is there, or while a certificate waits for its key, is told at a later look.
        """
        held = self._held()
        if held == self._told or not self._fits():
            return False
        if not self._signal():
            return False
        self._told = held
        return True

    def _held(self) -> bytes:
        files = self._files
        watched = [files.ca, files.certificate, files.key, files.access, *([files.revoked] if files.revoked else [])]
        return b"".join(sha256(read_if_present(path) or b"").encode() for path in watched)

    def _fits(self) -> bool:
        """Whether the certificate is there and belongs to the key: they are two files, written one after the other."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._files.certificate, self._files.key)
        except (OSError, ssl.SSLError):
            return False
        return True

    def _signal(self) -> bool:
        number = (read_if_present(self._files.pid) or b"").decode(errors="replace").strip() if self._files.pid else ""
        if not number.isdecimal():
            return False
        command = read_if_present(self._processes / number / "comm")
        if command is None or command.decode(errors="replace").strip() != COMMAND:
            return False
        try:
            os.kill(int(number), signal.SIGHUP)
        except ProcessLookupError:
            return False
        log.info("the broker reads its files again")
        return True
