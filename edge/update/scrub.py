"""Bit rot in a slot that serves: found while the model is in memory, and not at the next start."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import platform
from concurrent.futures import ThreadPoolExecutor

from edge.update.course import reason_of
from edge.update.parts import Parts
from edge.update.reconcile import Reconciler
from edge.update.slots import Slots
from shared.errors import HinterlandError, TrustError

log = logging.getLogger(__name__)

EVERY_S = 3600.0
"""Seconds between two looks: rot is slow, and reading a model wears nothing out."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call (ioprio_set(2)), for which libc has no function."""

_IDLE = 3 << 13
"""Served when nobody else wants the disk (IOPRIO_CLASS_IDLE)."""


class Scrub:
    """Reads the slots that serve, in a thread whose reads come last."""

    def __init__(self, parts: Parts, updates: Reconciler) -> None:
        self._parts = parts
        self._updates = updates
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrub", initializer=read_when_idle)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.once()

    async def once(self) -> None:
        """Look at every slot that serves. What is damaged serves on from memory, and is fetched again."""
        for model, release in list(self._updates.active.items()):
            if release and (reason := await self._damage(model)) and self._updates.active[model] == release:
                log.error("%s: %s", model, reason)
                await self._updates.rotten(model, reason)

    async def _damage(self, model: str) -> str:
        """Why the active slot would not serve after a restart; empty when it would."""
        slots, loop = Slots(self._parts.models, model), asyncio.get_running_loop()
        try:
            keys = await self._parts.trust.model_keys()
            slot = slots.active()
            if slot is not None:
                await loop.run_in_executor(self._thread, lambda: slots.verify(slot, keys=keys))
        except TrustError as error:
            return reason_of(error) if slots.active() == slot else ""  # an update may have put it out meanwhile
        except HinterlandError as error:
            log.warning("the slot of %s was not read: %s", model, error)
        return ""


def read_when_idle() -> None:
    """Have the calling thread's reads wait for everybody else's, where this system can do that."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, 1, 0, _IDLE)  # 1: a thread; 0: this one
