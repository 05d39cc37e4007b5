"""Our reading and writing of PUBLISH agrees with paho's, and nothing a broker may send does more than be refused."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.bus.packets import Published, read_length, read_publish, write_length, write_puback, write_publish

TOPICS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=70)


@given(
    topic=TOPICS,
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    payload=st.binary(max_size=300),
    identifiers=st.lists(st.integers(1, 1 << 27), max_size=3),
    answer=st.none() | st.binary(max_size=200),
    said=st.lists(st.tuples(st.text("ab", max_size=4), st.text("cd", max_size=4)), max_size=2),
    expiry=st.none() | st.integers(0, 1 << 31),
)
def test_a_publish_is_read_as_paho_reads_it(topic, qos, retain, payload, identifiers, answer, said, expiry):
    properties = Properties(PacketTypes.PUBLISH)
    for identifier in identifiers:
        properties.SubscriptionIdentifier = identifier
    for pair in said:
        properties.UserProperty = pair
    if answer is not None:
        properties.CorrelationData = answer
        properties.ContentType = "text"
        properties.PayloadFormatIndicator = 0
    if expiry is not None:
        properties.MessageExpiryInterval = expiry
    name, number = topic.encode(), struct.pack("!H", 7) if qos else b""
    packet = struct.pack("!H", len(name)) + name + number + properties.pack() + payload
    command = 0x30 | qos << 1 | retain
    theirs = decode_publish(command, packet, MQTTProtocolVersion.MQTTv5)
    for form in (packet, bytearray(packet), memoryview(packet)):
        ours = read_publish(command, form)
        assert (ours.topic.encode(), ours.payload, ours.qos) == (theirs.topic, theirs.payload, theirs.qos)
        assert (ours.retained, ours.number) == (theirs.retain, theirs.mid)
        assert list(ours.subscriptions) == identifiers


@given(topic=TOPICS, payload=st.binary(max_size=300), qos=st.sampled_from([0, 1]), retain=st.booleans())
def test_what_is_written_is_read(topic, payload, qos, retain):
    written = write_publish(topic, payload, qos=qos, retain=retain, number=9)
    length, start = read_length(written, 1)
    assert start + length == len(written)
    read = read_publish(written[0], written[start:])
    assert read == Published(topic, payload, qos, retain, 9 if qos else 0, ())
    theirs = decode_publish(written[0], written[start:], MQTTProtocolVersion.MQTTv5)
    assert (theirs.topic, theirs.payload) == (topic.encode(), payload)


@given(packet=st.binary(max_size=60), command=st.integers(0x30, 0x3F))
def test_what_is_no_publish_is_refused_and_nothing_else(packet, command):
    with suppress(MalformedPacket):
        read = read_publish(command, memoryview(packet))
        assert packet.endswith(read.payload)


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_publish_that_ends_too_early_is_refused(cut):
    whole = b"\0\1t\0\7\x09\x0b\x05\x26\0\1a\0\1b"
    assert read_publish(0x32, whole) == Published("t", b"", 1, False, 7, (5,))
    with pytest.raises(MalformedPacket):
        read_publish(0x32, whole[:cut])


def test_a_publish_that_ends_in_a_length_is_refused():
    with pytest.raises(MalformedPacket):
        read_publish(0x32, b"\0\1t\0\7\x80")


@given(value=st.integers(0, 268_435_455))
def test_lengths_come_back(value):
    assert read_length(b"x" + write_length(value) + b"y", 1) == (value, 1 + len(write_length(value)))


def test_a_length_has_at_most_four_bytes():
    with pytest.raises(MalformedPacket):
        read_length(b"\xff\xff\xff\xff\x01", 0)
    with pytest.raises(ValueError, match="256 MiB"):
        write_length(268_435_456)


@pytest.mark.parametrize("topic", ["", "a/+/b", "#", "x" * 65_536])
def test_a_topic_that_cannot_be_published_on_is_refused(topic):
    with pytest.raises(ValueError, match="topic"):
        write_publish(topic, b"", qos=1, retain=False, number=1)


def test_an_acknowledgement_names_its_packet():
    assert write_puback(0x1234) == b"\x40\x02\x12\x34"
