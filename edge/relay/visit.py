"""One visit to one relay, with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.relay.address import Address
from edge.relay.frames import MOST, Has, decode_answer, encode_request, read_frame
from edge.relay.passport import Passport
from edge.update.partial import PartialFile
from shared.errors import FaultError, TransportError


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a relay is worth waiting for."""

    connect_s: float = 5.0
    """Seconds for TCP and TLS on a local network."""

    hesitate_s: float = 2.0
    """Seconds until a relay that has nothing is asked once more: the devices of a site hear of a release one by one."""

    poll_s: float = 0.5
    """Seconds between two looks at chunks that are coming."""

    silence_s: float = 15.0
    """Seconds without a new chunk, though some are coming or due."""

    floor: int = 32 << 10
    """Bytes a second: a quarter of a link of 1 Mbit/s, over which a relay may be fetching itself. With the silence it
    bounds the whole visit, so that a relay that lies delays an update by 15 s and 32 s for each MiB, and no more."""


class Visit:
    """Asks, takes, waits while more is coming; every wait has an end, and all of them together too."""

    def __init__(self, relay: Address, partial: PartialFile, *, passport: Passport, patience: Patience) -> None:
        self._relay = relay
        self._partial = partial
        self._passport = passport
        self._patience = patience
        self._absent: set[str] = set()
        self._busy = False
        """Whether the relay fetches this variant itself."""

        self._end = self._heard = 0.0

    async def run(self) -> None:
        """Return once the relay has nothing more that is lacking.

        Raises:
            TransportError: it is this very device, or this device has no papers.
            OSError: it cannot be reached, or something breaks; a timeout too.
            EOFError: it went away.
            TrustError: it is no device of ours, or sent other bytes than were asked for.
            ContractError: it does not speak as a relay does.
            FaultError: this device's own disk failed.
        """
        patience, now = self._patience, asyncio.get_running_loop().time()
        lacking = self._partial.variant.size - self._partial.received
        self._end, self._heard = now + patience.silence_s + lacking / patience.floor, now
        try:
            context = self._passport.visiting()
        except FaultError as error:
            raise TransportError(str(error), hint=error.hint) from error
        async with asyncio.timeout(patience.connect_s):
            reader, writer = await asyncio.open_connection(self._relay.host, self._relay.port, ssl=context)
        try:
            peer = self._passport.prove(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            if peer == self._passport.device:
                raise TransportError(f"{self._relay} is this device itself", hint="Take it out of `relay.from`.")
            await self._trade(reader, writer)
        finally:
            writer.transport.abort()

    async def _trade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hesitated = False
        while self._partial.missing:
            wanted = self._wanted()
            if wanted:
                await self._ask(reader, writer, wanted)
            elif hesitated or self._busy:
                return
            else:
                hesitated = True
                self._absent.clear()
                await asyncio.sleep(self._patience.hesitate_s)

    def _wanted(self) -> dict[str, list[int]]:
        """Digest → where it is lacking, of the first that the relay may have."""
        wanted: dict[str, list[int]] = {}
        for index in self._partial.missing:
            digest = self._partial.variant.chunks[index].digest
            if digest in wanted or (digest not in self._absent and len(wanted) < MOST):
                wanted.setdefault(digest, []).append(index)
        return wanted

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wanted: dict[str, list[int]]
    ) -> None:
        brought = coming = False
        writer.write(encode_request(list(wanted)))
        for digest, indices in wanted.items():
            async with self._waiting():
                body = await read_frame(reader, most=1 + self._partial.variant.chunks[indices[0]].size)
            has, data = decode_answer(body)
            match has:
                case Has.HERE:
                    await _to_its_end(self._accept, indices, data)
                    self._heard, brought = asyncio.get_running_loop().time(), True
                case Has.COMING:
                    coming = self._busy = True
                case Has.ABSENT:
                    self._absent.add(digest)
        if coming and not brought:
            async with self._waiting():
                await asyncio.sleep(self._patience.poll_s)

    def _waiting(self) -> asyncio.Timeout:
        """The end of any wait: silence, or the end of the visit."""
        return asyncio.timeout_at(min(self._heard + self._patience.silence_s, self._end))

    def _accept(self, indices: Sequence[int], data: bytes) -> None:
        for index in indices:
            self._partial.accept(index, data)


async def _to_its_end(work: Callable[..., None], *arguments: object) -> None:
    """Run in a thread and never leave it behind: a partial file knows one thread at a time, and is closed by others."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
