"""The trainer is a process of its own: torch and Flower live and die there, and inference never notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from shared.backoff import Backoff

log = logging.getLogger(__name__)

STOP_GRACE_S = 4.0

WORKED_S = 15.0
"""A trainer that lived this long had connected, after some seconds of imports: not the start of a crash loop."""


class TrainerChild:
    """Keeps one trainer process running."""

    def __init__(self, argv: Sequence[str], *, random: Random) -> None:
        self._argv = list(argv)
        self._backoff = Backoff(first_s=1.0, most_s=60.0, random=random)
        self.pid = 0
        """Id of its process; 0 between two."""

    async def run(self) -> None:
        """Start the trainer, start it again when it ends, and end it when cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            child = await asyncio.create_subprocess_exec(*self._argv, stdin=asyncio.subprocess.DEVNULL)
            began = loop.time()
            self.pid = child.pid
            try:
                code = await child.wait()
            except asyncio.CancelledError:
                await _stop(child)
                raise
            finally:
                self.pid = 0
            if loop.time() - began > WORKED_S:
                self._backoff.reset()
            pause = self._backoff.next()
            log.warning("the trainer ended with status %d and starts again in %.1f s", code, pause)
            await asyncio.sleep(pause)


async def _stop(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(STOP_GRACE_S):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
