"""Our own servers take a renewed certificate up while they run: the API by looking, mosquitto by SIGHUP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from random import Random

import pytest
from cryptography import x509

from cloud.devices.authority import Authority
from cloud.layout import Layout
from cloud.release import Sealer
from cloud.tls import CertificateKeeper, LiveContext, days_left, verdict
from shared.bus.mqtt import MqttBus
from shared.durable import write_atomic

AT = 1_767_225_600.0
DAY = 86_400.0


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "ca", name="demo", sealer=Sealer(b"s", cost=4), at=AT)


def write(authority, directory, *, key=None):
    issued = authority.issue_server("broker", ["127.0.0.1"], at=AT)
    certificate, file = directory / "server.crt", directory / "server.key"
    write_atomic(file, (key or issued.key).encode())
    write_atomic(certificate, issued.certificate.encode())
    return certificate, file


async def shown(port):
    """Serial number of the certificate that a server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    serial = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True)).serial_number
    writer.close()
    return serial


async def test_a_server_shows_its_new_certificate_without_a_restart(authority, tmp_path):
    certificate, key = write(authority, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    live = LiveContext(context, certificate=certificate, key=key)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        first = await shown(port)
        assert not live.follow_once()
        write(authority, tmp_path)
        assert live.follow_once()
        second = await shown(port)
        assert first != second
        write(authority, tmp_path, key=authority.issue_server("broker", [], at=AT).key)
        assert not live.follow_once()  # a key that does not fit
        assert await shown(port) == second


def test_who_must_hear_of_it_does():
    told, made = [], "certificate of broker"
    CertificateKeeper(lambda: [made, "certificate of api"], taken_up_by={made: lambda: told.append(made)})()
    assert told == [made]


def test_health_says_when_renewal_has_failed_for_long(authority, tmp_path):
    layout = Layout(tmp_path)
    write_atomic(layout.certificate("broker"), authority.issue_server("broker", [], at=AT).certificate.encode())
    left = days_left(layout, at=AT)
    assert (left["broker"], left["authority"]) == (90.0, 3650.0)
    assert verdict(left) == "ok"
    assert verdict(days_left(layout, at=AT + 80 * DAY)) == "broker ends in 10 days"


@pytest.mark.system
async def test_mosquitto_reads_its_certificate_again_on_sighup(make_mosquitto, certificates, until):
    mosquitto = make_mosquitto([])
    session = MqttBus(mosquitto.endpoint("coordinator"), identity="coordinator", random=Random(1))

    def serial():
        certificate, key = certificates.issue("coordinator")
        context = ssl.create_default_context(cafile=str(certificates.ca))
        context.load_cert_chain(certificate, key)
        with (
            socket.create_connection(("127.0.0.1", mosquitto.broker.port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            return x509.load_der_x509_certificate(tls.getpeercert(True)).serial_number

    running = asyncio.create_task(session.run())
    await until(lambda: session.connected)
    assert await asyncio.to_thread(serial) == certificates.serial("broker")
    for name in ("broker.pem", "broker.key"):
        (certificates.directory / name).unlink()
    certificates.issue("broker")
    await mosquitto.reload(session)
    assert await asyncio.to_thread(serial) == certificates.serial("broker")
    assert (session.connected, session.sessions) == (True, 1)  # whoever is there stays
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
