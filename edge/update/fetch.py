"""Bring a variant onto this device: copy what its slots hold already, have the rest sent."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from edge.update.download import Download, Notice
from edge.update.held import Held
from edge.update.partial import PartialFile
from edge.update.parts import Parts
from edge.update.slots import Slots
from shared.bundle import Variant
from shared.errors import HinterlandError
from shared.trust import SlotFact

log = logging.getLogger(__name__)


async def fetch(parts: Parts, slots: Slots, variant: Variant, notice: Notice) -> Path:
    """The complete file, durable and proven.

    Raises:
        TransportError: it did not come, or not unaltered; what was proven stays for the next attempt.
        FaultError: the disk failed.
    """
    path = await asyncio.to_thread(slots.incoming, variant)
    partial = await asyncio.to_thread(PartialFile, path, variant)
    try:
        base = await _seed(parts, slots, partial)
        if parts.neighbours is not None:
            await parts.neighbours.fetch(partial)
        download = Download(
            parts.bus,
            partial,
            device=parts.device,
            clock=parts.clock,
            random=parts.random,
            patience=parts.patience,
            base=base,
        )
        await download.run(notice)
        return await asyncio.to_thread(partial.finish)
    finally:
        partial.close()


async def _seed(parts: Parts, slots: Slots, partial: PartialFile) -> Held | None:
    """Take over what both slots have in common with the file; return what may serve as base for the rest.

    Raises:
        FaultError: the disk did not take it.
    """
    active = slots.active()
    if active is None:
        return None
    base = None
    for slot in (active, slots.idle()):
        if not partial.missing:
            break
        try:
            keys = await parts.trust.model_keys()
            fact = await asyncio.to_thread(slots.inspect, slot, keys=keys)  # each chunk is proven as it is copied
            copied = await asyncio.to_thread(_copy, partial, fact)
        except (HinterlandError, OSError) as error:
            if partial.closed:  # not the slot failed, but the file that is to be filled, which now takes nothing more
                raise
            log.info("nothing copied from slot %s: %s", slot, error)
            continue
        log.info("%d chunks copied from slot %s", copied, slot)
        if slot == active:
            base = Held(fact.path, fact.variant)
    return base


def _copy(partial: PartialFile, fact: SlotFact) -> int:
    return partial.seed(fact) if partial.missing else 0
