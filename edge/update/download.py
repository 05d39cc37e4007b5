"""Fetch a variant: ask for the chunks that are lacking, prove each as it arrives, ask again after silence."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from edge.update.held import Held
from edge.update.intake import Arrival, Intake, Outcome
from edge.update.pace import Floor, Patience, Window
from edge.update.partial import PartialFile
from shared import topics
from shared.backoff import Backoff
from shared.bus import Bus, Delivery
from shared.clock import Clock
from shared.codec import pack
from shared.errors import ContractError, FaultError, HinterlandError, TransportError, TrustError
from shared.forms import LATER, Form, decode, form_name
from shared.ids import DeviceId, check_digest
from shared.messages import Want
from shared.topics import Up

log = logging.getLogger(__name__)

MAX_WRONG = 8
"""Wrong copies of one chunk after which this attempt ends."""

Notice = Callable[["Progress"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a download stands."""

    received: int
    total: int
    reason: str = ""
    """What was refused last."""


class Download:
    """One attempt at one variant; what it proved stays on disk for the next.

    Chunks are asked for in the form that costs least. A coordinator that knows no forms answers with plain bytes, so
    after a first silence those are listened for, too; a chunk whose form brought the wrong bytes is asked for plain.
    """

    def __init__(
        self,
        bus: Bus,
        partial: PartialFile,
        *,
        device: DeviceId,
        clock: Clock,
        random: Random,
        patience: Patience,
        base: Held | None = None,
    ) -> None:
        self._bus = bus
        self._partial = partial
        self._device = device
        self._clock = clock
        self._patience = patience
        self._base = base
        self._digest = check_digest(partial.variant.digest)
        self._forms = [str(Form.PACKED), *([str(Form.DELTA)] if base else [])]
        self._form = form_name(self._forms, base.digest if base else "")
        self._backoff = Backoff(first_s=patience.silence_s / 2, most_s=patience.most_s, random=random)
        self._arrived = asyncio.Event()
        self._intake = Intake(self._accept, done=self._done)
        self._failure: HinterlandError | None = None
        self._wrong: Counter[int] = Counter()
        self._plain = self._put_off = False
        self._window = Window()
        self._reason = ""

    @property
    def wrong(self) -> int:
        """Chunks that were refused."""
        return self._wrong.total()

    async def run(self, notice: Notice) -> None:
        """Return once every chunk is proven and written.

        Args:
            notice: told when a chunk was refused.

        Raises:
            TransportError: nothing came for too long, or too little, or somebody on the way alters a chunk again and
                again: none of it says anything against what was signed.
            FaultError: the disk failed.
        """
        if not self._partial.missing:
            return
        self._bus.on(topics.formed_chunks(self._digest, self._form), self._chunk)
        taking = asyncio.create_task(self._intake.run(), name=f"intake of {self._partial.variant.name}")
        taking.add_done_callback(self._stopped)
        try:
            await self._until_complete(notice)
        finally:
            try:
                await self._deaf()
            finally:
                taking.cancel()  # last: a handler that waits for room must end

    async def _deaf(self) -> None:
        await self._bus.off(topics.formed_chunks(self._digest, self._form))
        if self._plain:
            await self._bus.off(topics.chunks(self._digest))

    def _stopped(self, taking: asyncio.Task[None]) -> None:
        """Nothing ends the intake but the end of the attempt: an error that nobody foresaw ends the attempt."""
        if not taking.cancelled():
            self._failure = FaultError(f"chunks are not taken any more: {taking.exception()!r}")
            self._arrived.set()

    async def _until_complete(self, notice: Notice) -> None:
        alive = progress = self._clock.monotonic()
        floor = Floor(self._patience, received=self._partial.received, at=alive)
        while not self._partial.complete:
            if self._window.has_room:
                await self._ask(self._window.room_for(self._partial.missing))
            came, now = await self._listen(notice), self._clock.monotonic()
            if came:
                alive = progress = now
            elif not self._bus.connected or (self._put_off and now - progress < self._patience.put_off_s):
                self._put_off, alive = False, now
                floor.restart(received=self._partial.received, at=now)
            elif now - alive > self._patience.give_up_s:
                raise TransportError(f"no chunk came for {self._patience.give_up_s:.0f} s")
            if floor.broken(received=self._partial.received, at=now):
                raise TransportError(
                    f"less than {self._patience.floor_bytes} bytes came in {self._patience.floor_s:.0f} s",
                    hint="The link is too slow for a model, or somebody slows it down; tried again later.",
                )

    async def _ask(self, indices: list[int]) -> None:
        if not indices:
            return
        self._window.asked(indices, at=self._clock.monotonic())
        formed = [index for index in indices if not self._wrong[index]]
        plain = [index for index in indices if self._wrong[index]]
        base = self._base.digest if self._base else ""
        with suppress(TransportError):  # not connected: as good as silence
            if formed:
                await self._want(Want(digest=self._digest, indices=formed, forms=self._forms, base=base))
            if plain:
                self._hear_plain()
                await self._want(Want(digest=self._digest, indices=plain))

    async def _want(self, want: Want) -> None:
        await self._bus.publish(topics.up(self._device, Up.WANT), pack(want))

    def _hear_plain(self) -> None:
        if not self._plain:
            self._plain = True
            self._bus.on(topics.chunks(self._digest), self._chunk)

    async def _listen(self, notice: Notice) -> bool:
        """Wait for a chunk or for silence; whether anything new came."""
        before = self._partial.received
        if not self._arrived.is_set():
            try:
                # `wait_for` of Python 3.11 may swallow a cancellation
                async with asyncio.timeout(self._window.silence_s(self._patience) + self._backoff.next()):
                    await self._arrived.wait()
            except TimeoutError:
                self._window.lost()
                self._hear_plain()
                return False
        self._arrived.clear()
        await self._tell(notice)
        if self._partial.received > before:
            self._backoff.reset()
        return self._partial.received > before

    async def _tell(self, notice: Notice) -> None:
        if self._failure is not None:
            raise self._failure
        if self._reason:
            reason, self._reason = self._reason, ""
            await notice(Progress(received=self._partial.received, total=self._partial.variant.size, reason=reason))

    async def _chunk(self, delivery: Delivery) -> None:
        _, form, index = topics.parse_any_chunk(delivery.topic)
        if index >= len(self._partial.variant.chunks):
            return  # for somebody else; it must not pass for an answer to us
        if form and delivery.payload == LATER:
            self._put_off = True
            return
        await self._intake.offer(Arrival(index, delivery.payload, form))

    def _accept(self, arrival: Arrival) -> bool:
        if not self._partial.lacks(arrival.index):
            return False
        payload = self._unpack(arrival.index, arrival.payload) if arrival.form else arrival.payload
        return self._partial.accept(arrival.index, payload)

    def _done(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, TrustError):
            self._refuse(outcome.index, outcome.error)
        elif outcome.error is not None:
            self._failure = outcome.error
        elif outcome.new:
            self._window.came(outcome.index, at=self._clock.monotonic())
        else:
            return
        self._arrived.set()

    def _unpack(self, index: int, payload: bytes) -> bytes | memoryview:
        variant = self._partial.variant
        try:
            return decode(payload, size=variant.chunks[index].size, read=self._base.read if self._base else None)
        except ContractError as error:
            raise TrustError(f"chunk {index} of {variant.name} cannot be unpacked: {error}") from error

    def _refuse(self, index: int, error: HinterlandError) -> None:
        self._wrong[index] += 1
        self._window.refused(index)
        self._reason = f"{error.code}: {error}; asked for again"
        log.warning("%s (%d times)", error, self._wrong[index])
        if self._wrong[index] >= MAX_WRONG:
            self._failure = TransportError(
                f"{error}, {MAX_WRONG} times in a row",
                hint="Something between the coordinator and this device alters the bytes.",
            )
