"""HTTP/1.1 for few callers with small manners: h11 reads and writes it, this keeps the time and counts the bytes.

The body is read only once somebody wants it: who is refused by head alone costs no memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import h11
import msgspec

from shared.errors import ContractError

MAX_HEAD = 16 << 10
"""Bytes of a request's line and headers."""

PIECE = 256 << 10
"""Bytes read or written at once."""

LINGER_S = 1.0
"""Seconds for a caller to notice that it is sent away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What callers are given."""

    handshake_s: float = 10.0
    """Seconds for TLS."""

    idle_s: float = 75.0
    """Seconds until the next request begins."""

    head_s: float = 10.0
    """Seconds from a request's first byte to the end of its headers: a caller that drips is let go."""

    body_s: float = 30.0
    """Seconds for a body."""

    write_s: float = 20.0
    """Seconds to take one piece of an answer."""

    body_bytes: int = 16 << 20
    """Most bytes of a body."""


class HttpError(Exception):
    """A request that gets no more than a status and a sentence."""

    def __init__(self, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request whose body may not be here yet."""

    method: str
    target: str
    headers: Mapping[str, str]
    """By name in lower case; of those that come twice the last."""

    body: Callable[[], Awaitable[bytes]]
    """Reads it; call it once.

    Raises:
        HttpError: it is too large, or does not come in time.
    """

    most: int
    """Most bytes that a body may have."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer."""

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    """In place of `content`: pieces as they come, until it ends or the caller goes."""


Handle = Callable[[Request], Awaitable[Response]]


def json_response(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(
        status=status,
        content=msgspec.json.encode(document),
        headers={"Content-Type": "application/json", **(headers or {})},
    )


def error_response(error: HttpError) -> Response:
    """In the protocol's form."""
    return json_response({"error": str(error)}, status=error.status, headers=error.headers)


class Connection:
    """One caller's connection, request after request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, handle: Handle, manners: Manners
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._manners = manners
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._bodiless = False

    async def run(self) -> None:
        """Until the caller goes, or has to."""
        try:
            while await self._once():
                self._state.start_next_cycle()
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the caller is gone, or dripped
        finally:
            self._writer.transport.abort() if self._writer.transport.get_write_buffer_size() else self._writer.close()

    async def _once(self) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            head = await self._head()
            if head is None:
                return False
            response = await self._answer(head)
            await self._skip()
        except h11.RemoteProtocolError as error:
            response = error_response(HttpError(error.error_status_hint or 400, f"no HTTP request: {error}"[:200]))
        if self._state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        await self._send(response)
        if {self._state.our_state, self._state.their_state} == {h11.DONE}:
            return True
        await self._linger()
        return False

    async def _head(self) -> h11.Request | None:
        self._bodiless = False
        async with asyncio.timeout(self._manners.idle_s) as patience:
            first = True
            while True:
                event = self._state.next_event()
                if isinstance(event, h11.Request):
                    self._bodiless = event.method == b"HEAD"
                    return event
                if event is not h11.NEED_DATA:
                    return None  # the other side hung up
                data = await self._reader.read(MAX_HEAD)  # h11 bounds what is incomplete, not what comes at once
                self._state.receive_data(data)
                if first and data:
                    first = False
                    patience.reschedule(asyncio.get_running_loop().time() + self._manners.head_s)

    async def _answer(self, head: h11.Request) -> Response:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        request = Request(
            method=head.method.decode("latin-1"),
            target=head.target.decode("latin-1"),
            headers=headers,
            body=lambda: self._body(headers),
            most=self._manners.body_bytes,
        )
        try:
            return await self._handle(request)
        except HttpError as error:
            return error_response(error)

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        most = self._manners.body_bytes
        told = headers.get("content-length", "0")
        if len(told) > 18 or int(told) > most:
            raise HttpError(413, f"a request has at most {most} bytes, this one has {told[:20]}")
        if self._state.they_are_waiting_for_100_continue:
            await self._write(self._state.send(h11.InformationalResponse(status_code=100, headers=[])))
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._manners.body_s):
                async for piece in self._pieces():
                    size += len(piece)
                    if size > most:
                        raise HttpError(413, f"a request has at most {most} bytes")
                    pieces.append(piece)
        except TimeoutError as error:
            raise HttpError(408, f"the body did not come within {self._manners.body_s:g} s") from error
        return b"".join(pieces)

    async def _skip(self) -> None:
        """Read to the request's end what nobody wanted, if it is little."""
        if self._state.their_state is not h11.SEND_BODY or self._state.they_are_waiting_for_100_continue:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                size = 0
                async for piece in self._pieces():
                    size += len(piece)
                    if size > PIECE:
                        return

    async def _linger(self) -> None:
        """Let a caller that still sends read what it was told: closing at once would take the answer back (RST)."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(LINGER_S):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(PIECE):
                    pass

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            event = self._state.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(PIECE)
                if not data:
                    raise ConnectionResetError
                self._state.receive_data(data)
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def _send(self, response: Response) -> None:
        headers = {"Server": "hinterland", "Cache-Control": "no-store", **response.headers}
        if response.stream is None:
            headers["Content-Length"] = str(len(response.content))
        if self._state.their_state is h11.SEND_BODY or self._state.their_state is h11.ERROR:
            headers["Connection"] = "close"  # the rest of its body is not read
        head = h11.Response(
            status_code=response.status,
            headers=list(headers.items()),
            reason=HTTPStatus(response.status).phrase,
        )
        await self._write(self._state.send(head))
        if self._bodiless:
            pass
        elif response.stream is None:
            content = memoryview(response.content)
            for start in range(0, len(content), PIECE):
                await self._write(self._state.send(h11.Data(data=bytes(content[start : start + PIECE]))))
        else:
            async for piece in response.stream:
                await self._write(self._state.send(h11.Data(data=piece)))
        await self._write(self._state.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(self._manners.write_s):
                await self._writer.drain()


def content_length(headers: Mapping[str, str], name: str) -> int | None:
    """A length that a header tells; None without it.

    Raises:
        ContractError: it is none.
    """
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ContractError(f"{name} is no number of bytes: {text[:20]!r}")
    return int(text)
