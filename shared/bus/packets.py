"""The two packets that come by the thousand, PUBLISH and PUBACK, as values (MQTT 5, sections 3.3 and 3.4).

paho reads and writes every packet rightly, and takes ten times as long for these; `tests/unit/shared/test_packets.py`
holds both to the same answers.
"""

from __future__ import annotations

from typing import NamedTuple

from paho.mqtt.exception import MalformedPacket

PUBLISH, PUBACK = 0x30, 0x40

_SUBSCRIPTION = 0x0B
"""Property "Subscription Identifier", section 3.3.2.3.8."""

_FIXED = {0x01: 1, 0x02: 4, 0x23: 2}
"""Property → bytes of its value: payload format, message expiry, topic alias."""

_TEXTS = {0x03: 1, 0x08: 1, 0x09: 1, 0x26: 2}
"""Property → its values, each after two bytes of length: content type, response topic, correlation data, user's own."""

_LONGEST_TOPIC = 65_535
_MOST_REMAINING = 268_435_455


class Published(NamedTuple):
    """A PUBLISH as it came."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    number: int
    """Packet identifier, 1 to 65,535; 0 for QoS 0."""

    subscriptions: tuple[int, ...]
    """Identifiers of the subscriptions that it is for."""


def read_publish(command: int, packet: bytes | bytearray | memoryview) -> Published:
    """Read a PUBLISH.

    Args:
        command: first byte of the fixed header.
        packet: all that follows the fixed header.

    Raises:
        MalformedPacket: it is none, or of QoS 2, for which nobody has asked.
    """
    qos, size = command >> 1 & 3, len(packet)
    end = 2 + int.from_bytes(packet[:2], "big")
    head = end + 2 if qos else end
    if qos > 1 or head >= size:
        raise MalformedPacket("no PUBLISH with QoS 0 or 1")
    try:
        topic = str(packet[2:end], "utf-8")
    except UnicodeDecodeError:
        raise MalformedPacket("the topic is no text") from None
    number = int.from_bytes(packet[end:head], "big")
    try:
        length, start = read_length(packet, head)
    except IndexError:
        raise MalformedPacket("the packet ends in the length of its properties") from None
    if start + length > size:
        raise MalformedPacket("the properties end after the packet")
    subscriptions = _subscriptions(bytes(packet[start : start + length])) if length else ()
    return Published(topic, bytes(packet[start + length :]), qos, bool(command & 1), number, subscriptions)


def read_length(packet: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """A variable byte integer at `at` (section 1.5.5), and where what follows it begins.

    Raises:
        MalformedPacket: it has more than four bytes.
        IndexError: it is not complete.
    """
    value, shift = 0, 0
    while shift < 28:
        byte = packet[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise MalformedPacket("a length of more than four bytes")


def write_publish(topic: str, payload: bytes, *, qos: int, retain: bool, number: int) -> bytes:
    """A whole PUBLISH without properties; `number` is its packet identifier, which QoS 0 does not have.

    Raises:
        ValueError: nothing can be published on this topic, or not so much.
    """
    name = topic.encode()
    if not name or len(name) > _LONGEST_TOPIC or "+" in topic or "#" in topic:
        raise ValueError(f"nothing can be published on the topic {topic[:120]!r}")
    head = b"%b%b%b\0" % (len(name).to_bytes(2, "big"), name, number.to_bytes(2, "big") if qos else b"")
    command = PUBLISH | qos << 1 | retain
    return b"%c%b%b%b" % (command, write_length(len(head) + len(payload)), head, payload)


def write_puback(number: int) -> bytes:
    """A whole PUBACK that says success."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def write_length(value: int) -> bytes:
    """A variable byte integer.

    Raises:
        ValueError: it is larger than a packet may be.
    """
    if value > _MOST_REMAINING:
        raise ValueError("a packet of more than 256 MiB")
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _subscriptions(properties: bytes) -> tuple[int, ...]:
    """The subscription identifiers among a PUBLISH's properties; the others say nothing to us."""
    at, size, found = 0, len(properties), []
    try:
        while at < size:
            kind, at = properties[at], at + 1
            if kind == _SUBSCRIPTION:
                identifier, at = read_length(properties, at)
                found.append(identifier)
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                for _ in range(_TEXTS[kind]):
                    at += 2 + (properties[at] << 8 | properties[at + 1])
    except (IndexError, KeyError):
        raise MalformedPacket("no properties of a PUBLISH") from None
    if at != size:
        raise MalformedPacket("the properties do not end where they say")
    return tuple(found)
