"""Large packets move whole, and what is not large packets stays as it was."""

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.bus.stream import RECORD, ClosingSocket, head_size
from tests.real_broker import Certificates


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Ours, and a plain one."""
    certificates = Certificates(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*map(str, certificates.issue("broker")))
    client = ssl.create_default_context(cafile=str(certificates.ca))
    client.sslsocket_class = ClosingSocket
    near, far = socket.socketpair()
    shaken: list[ssl.SSLSocket] = []
    thread = Thread(target=lambda: shaken.append(server.wrap_socket(far, server_side=True)))
    thread.start()
    ours = client.wrap_socket(near, server_hostname="localhost")
    thread.join()
    ours.setblocking(False)
    yield ours, shaken[0]
    ours.close()
    shaken[0].close()


def test_one_call_receives_several_records_and_says_when_nothing_is_left(
    ends: tuple[ssl.SSLSocket, ssl.SSLSocket],
) -> None:
    ours, peer = ends
    data = os.urandom(3 * RECORD)
    peer.sendall(data)
    assert ours.recv(1) == data[:1]
    assert ours.recv(1 << 30) == data[1:]
    with pytest.raises(ssl.SSLWantReadError):
        ours.recv(1 << 30)
    peer.sendall(b"the last words")
    peer.close()
    assert ours.recv(1 << 30) == b"the last words"
    assert ours.recv(1 << 30) == b""


@given(
    topic=st.text("abc/", min_size=1, max_size=70),
    qos=st.sampled_from([0, 1]),
    payload=st.binary(max_size=300),
    identifiers=st.lists(st.integers(1, 1 << 27), max_size=3),
    answer=st.none() | st.binary(max_size=200),
)
def test_the_head_of_a_publish_ends_where_its_payload_begins(
    topic: str, qos: int, payload: bytes, identifiers: list[int], answer: bytes | None
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's constructor has no hints
    for identifier in identifiers:
        properties.SubscriptionIdentifier = identifier
    if answer is not None:
        properties.CorrelationData = answer
    number = struct.pack("!H", 7) if qos else b""
    packet = struct.pack("!H", len(topic)) + topic.encode() + number + properties.pack() + payload  # type: ignore[no-untyped-call]
    head = head_size(packet, qos=qos)
    whole = decode_publish(0x30 | qos << 1, packet, MQTTProtocolVersion.MQTTv5)
    alone = decode_publish(0x30 | qos << 1, packet[:head], MQTTProtocolVersion.MQTTv5)
    assert packet[head:] == whole.payload == payload
    assert (alone.topic, alone.mid, alone.payload) == (whole.topic, whole.mid, b"")
    assert str(alone.properties) == str(whole.properties)


@given(packet=st.binary(max_size=40), qos=st.sampled_from([0, 1]))
def test_no_packet_has_a_head_beyond_its_end(packet: bytes, qos: int) -> None:
    assert 0 <= head_size(packet, qos=qos) <= len(packet)
