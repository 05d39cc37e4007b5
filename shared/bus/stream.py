"""TLS, several records at a time."""

from __future__ import annotations

import ssl
from functools import cached_property

RECORD = 16 << 10
"""Most bytes that TLS brings at a time (RFC 8446, section 5.1)."""


class ClosingSocket(ssl.SSLSocket):
    """paho 2 forgets a socket whose handshake failed; this one closes itself.

    TLS brings a record at a time, of which a packet of 256 KiB has sixteen, while small packets come in one each. So
    this one goes on until there are several records, or nothing more has come.
    """

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if buflen <= RECORD:
            return super().recv(buflen, flags)
        size, got = min(buflen, len(self._room)), 0
        while got < size:
            try:
                came = self.recv_into(self._room[got:size], 0, flags)
            except OSError:
                if not got:
                    raise
                break  # what stopped it comes up again at the next call
            if not came:
                break
            got += came
        return bytes(self._room[:got])

    @cached_property
    def _room(self) -> memoryview:
        """Kept: fresh memory of this size comes from the kernel page by page, and takes longer than what fills it."""
        return memoryview(bytearray(4 * RECORD))
