"""Large packets from TLS to paho without needless copies."""

from __future__ import annotations

import ssl
from functools import cached_property

from paho.mqtt.exception import MalformedPacket
from paho.mqtt.properties import VariableByteIntegers

RECORD = 16 << 10
"""Most bytes that TLS brings at a time (RFC 8446, section 5.1)."""


class ClosingSocket(ssl.SSLSocket):
    """paho 2 forgets a socket whose handshake failed; this one closes itself.

    TLS brings a record at a time, and for each paho makes room for all that is left of a packet: for 256 KiB, 2 MiB of
    fresh memory. So this one goes on until there are several records, or nothing more has come.
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


def head_size(packet: bytes | bytearray, *, qos: int) -> int:
    """Bytes of a PUBLISH before its payload (MQTT 5, section 3.3.2), after the fixed header.

    All there are when that cannot be told: paho then says what is wrong with the packet.
    """
    properties = 2 + int.from_bytes(packet[:2], "big") + (2 if qos else 0)
    try:
        width: int
        size: int
        size, width = VariableByteIntegers.decode(bytes(packet[properties : properties + 4]))  # type: ignore[no-untyped-call]  # paho has no hints here
    except MalformedPacket:
        return len(packet)
    return min(properties + width + size, len(packet))
