"""Large packets move whole, and what is not large packets stays as it was."""

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from shared.bus.stream import RECORD, ClosingSocket
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
