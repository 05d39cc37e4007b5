"""The agent's status on a Unix socket in its state directory: a JSON line each second, for its owner only.

Who connects gets a line at once and then one a second; nothing is read from the other side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from edge.operate.status import Status
from shared.errors import FaultError

log = logging.getLogger(__name__)

NAME = "agent.sock"

EVERY_S = 1.0

VIEWERS = 8
"""At once; each costs a millisecond a second."""

TAKE_S = 5.0
"""A viewer that does not read for so long is let go."""

MAX_LINE = 1 << 20


class StatusSocket:
    """Tells whoever owns the device's files."""

    def __init__(self, directory: Path, *, gather: Callable[[], Status], every_s: float = EVERY_S) -> None:
        self._path = directory / NAME
        self._gather = gather
        self._every_s = every_s
        self.viewers = 0
        """Connections now."""

    async def run(self) -> None:
        """Serve until cancelled; without a socket, which some disks do not take, the agent goes on."""
        with suppress(OSError):
            self._path.unlink()
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._show, self._path)
        except (OSError, ValueError) as error:
            log.warning("no status socket at %s: %s", self._path, error)
            return
        finally:
            os.umask(before)
        try:
            async with server:
                await server.serve_forever()
        finally:
            with suppress(OSError):
                self._path.unlink()

    async def _show(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        self.viewers += 1
        try:
            while self.viewers <= VIEWERS:
                writer.write(msgspec.json.encode(self._gather()) + b"\n")
                async with asyncio.timeout(TAKE_S):
                    await writer.drain()
                await asyncio.sleep(self._every_s)
        except (OSError, TimeoutError):
            pass
        except Exception:
            log.exception("the status could not be told")
        finally:
            self.viewers -= 1
            writer.transport.abort()


def watch(state: Path, *, within_s: float = 10.0) -> Iterator[Status]:
    """The statuses of the agent whose state directory this is, as they come; ends with the agent.

    Raises:
        FaultError: no agent runs there, it does not answer, or it is another version's.
    """
    hint = "Start it with `hinterland-agent run`, or give the right --config; look as the user whom it runs as."
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(within_s)
            connection.connect(str(state / NAME))
            with connection.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE):
                    yield msgspec.json.decode(line, type=Status)
    except (OSError, ValueError) as error:
        raise FaultError(f"no agent answers at {state / NAME}: {error}", hint=hint) from error
    except msgspec.MsgspecError as error:
        raise FaultError("the agent that runs is of another version", hint="Restart it.") from error
