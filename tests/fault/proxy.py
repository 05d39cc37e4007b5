"""A wire between a device and its broker that can be cut after so many bytes, or let only so many through a second."""

from __future__ import annotations

import asyncio
from contextlib import suppress

PIECE = 4096


class Proxy:
    """Passes TCP on to `port`; `run` it, then connect to `self.port`."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cuts: list[int] = []
        """Bytes towards the device after which the connection breaks, in all and ascending."""

        self.rate = 0.0
        """Bytes a second towards the device; 0 for as many as come."""

        self.passed = 0
        """Bytes towards the device so far."""

        self.broken = 0
        """Connections that were cut."""

        self._to = port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink, down in ((reader, far_writer, False), (far_reader, writer, True)):
            pipe = asyncio.create_task(self._pipe(source, sink, down=down))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)
            pipe.add_done_callback(lambda _: (writer.transport.abort(), far_writer.transport.abort()))

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, down: bool) -> None:
        with suppress(OSError):
            while data := await source.read(PIECE):
                if down and self.cuts and self.passed + len(data) >= self.cuts[0]:
                    data = data[: self.cuts.pop(0) - self.passed]
                    self.broken += 1
                    self.passed += len(data)
                    sink.write(data)
                    await sink.drain()
                    return
                if down:
                    self.passed += len(data)
                    if self.rate:
                        await asyncio.sleep(len(data) / self.rate)
                sink.write(data)
                await sink.drain()
