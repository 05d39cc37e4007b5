"""Protocol Buffers read as what they are on the wire: numbered fields, without a schema and without trust.

See “Encoding” in the Protocol Buffers documentation. Only what honest writers produce is accepted: no groups, no
field number 0, no varint over 64 bits, nothing that runs past its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from shared.errors import TrustError


class Wire(IntEnum):
    """How a field's value is written."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5


WIDTH = {Wire.FIXED64: 8, Wire.FIXED32: 4}
MAX_VARINT = 10
"""Bytes that 64 bits take at 7 bits a byte."""


class Field(NamedTuple):
    """One field of a message."""

    number: int
    wire: Wire
    value: int
    """Of a varint, as an unsigned 64-bit number; 0 for the others."""

    start: int
    """Where the value lies in the data, after its length if it has one."""

    end: int

    @property
    def length(self) -> int:
        """Bytes of the value."""
        return self.end - self.start


def read_fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies in `data[start:end]`, in order.

    Raises:
        TrustError: no message lies there.
    """
    position = start
    while position < end:
        tag, position = read_varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        if not number or kind not in _WIRES:
            raise TrustError(f"no message: tag {tag} at byte {position}")
        wire = _WIRES[kind]
        value, begin = 0, position
        if wire is Wire.VARINT:
            value, position = read_varint(data, position, end)
        elif wire is Wire.LENGTH:
            length, begin = read_varint(data, position, end)
            position = begin + length
        else:
            position += WIDTH[wire]
        if position > end:
            raise TrustError(f"field {number} runs past its end at byte {begin}")
        yield Field(number, wire, value, begin, position)


def read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """An unsigned number of at most 64 bits, and where the next byte is.

    Raises:
        TrustError: it runs past `end` or is too long.
    """
    if position < end and data[position] < 0x80:
        return data[position], position + 1  # nearly all of them: tags, and lengths of names
    value = 0
    for index in range(min(MAX_VARINT, end - position)):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + index + 1
    raise TrustError(f"no number at byte {position}")


def signed(value: int) -> int:
    """A varint as the 64-bit two's complement number that `int64` fields hold."""
    return value - (1 << 64) if value >> 63 else value


_WIRES = {int(wire): wire for wire in Wire}
