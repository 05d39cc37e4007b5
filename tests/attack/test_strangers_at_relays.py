"""Strangers at a relay: whoever is no device of the authority gets nothing, and devices no more than chunks."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.devices.issuers import Leaf
from edge.identity.keys import certificate_request, ensure_key
from edge.relay.frames import Has, answer_head, encode_request
from edge.relay.server import Manners
from edge.relay.shelf import Shelf
from shared.clock import VirtualClock
from shared.errors import TrustError
from shared.ids import sha256
from tests.site import DAY, NOW, Place, asked, at, certify, make_authority, make_partial, noise, passport, told

DATA, SIZE = noise(7, 10_000), 1000
FIRST = sha256(DATA[:SIZE])


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def shelf(place):
    shelf = Shelf(place.directory / "models", clock=VirtualClock())
    shelf.lend(make_partial(place.directory / "models" / "m" / "incoming", DATA, have=None, size=SIZE))
    return shelf


def nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def carrying(certificate, key) -> ssl.SSLContext:
    context = nobody()
    context.load_cert_chain(certificate, key)
    return context


async def test_control_a_device_of_the_authority_is_served(place, shelf):
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), place.passport("device-b").visiting(), FIRST) != b""
    assert relay.served == 1


async def test_a_stranger_without_a_certificate_gets_nothing(place, shelf):
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), nobody(), FIRST) == b""
        assert relay.served == 0
        assert await asked(at(relay), place.passport("device-b").visiting(), FIRST) != b""


async def test_a_device_of_another_authority_gets_nothing(place, shelf, tmp_path):
    theirs = certify(make_authority(tmp_path / "thief"), tmp_path / "stranger", "device-b")
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), passport(theirs).visiting(), FIRST) == b""
    assert relay.served == 0


async def test_a_stolen_server_certificate_opens_no_relay(place, shelf, tmp_path):
    stolen = place.authority.issue_server("broker", ["127.0.0.1"], at=NOW)
    (tmp_path / "c.pem").write_text(stolen.certificate)
    (tmp_path / "k.pem").write_text(stolen.key)
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), carrying(tmp_path / "c.pem", tmp_path / "k.pem"), FIRST) == b""
    assert relay.served == 0


async def test_a_certificate_of_the_coordinator_is_none_of_a_device(place, shelf, tmp_path):
    ours = place.authority.issue_client("coordinator", at=NOW)
    (tmp_path / "c.pem").write_text(ours.certificate)
    (tmp_path / "k.pem").write_text(ours.key)
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), carrying(tmp_path / "c.pem", tmp_path / "k.pem"), FIRST) == b""
    assert relay.served == 0


async def test_an_expired_certificate_gets_nothing(place, shelf):
    old = place.identity("device-b", at=NOW - 3 * DAY, lifetime=DAY)
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), passport(old).visiting(), FIRST) == b""
    assert relay.served == 0


async def test_tls_1_2_is_not_spoken(place, shelf):
    context = place.passport("device-b").visiting()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with place.relay(shelf) as relay:
        assert await asked(at(relay), context, FIRST) == b""


async def test_a_digest_that_spells_a_path_is_only_a_digest(place, shelf):
    path = b"../../../../../../../etc/passwd\0"
    assert len(path) == 32
    async with place.relay(shelf) as relay:
        context = place.passport("device-b").visiting()
        assert await asked(at(relay), context, path.hex()) == answer_head(Has.ABSENT)
        assert await asked(at(relay), context, FIRST) != b""


@pytest.mark.parametrize(
    "request_", [b"\xff\xff\xff\xff" + b"x" * 5000, b"\0\0\0\0", b"\0\0\0\x05\x01abcd", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_request_ends_the_connection_unread(place, shelf, request_):
    async with place.relay(shelf) as relay:
        context = place.passport("device-b").visiting()
        assert await told(at(relay), context, request_) == b""
        assert await asked(at(relay), context, FIRST) != b""


async def test_the_silent_and_the_slow_are_shown_out(place, shelf):
    large = noise(9, 1 << 20)
    shelf.lend(make_partial(place.directory / "large", large, have=None, size=1 << 20))
    manners = Manners(handshake_s=0.5, request_s=0.5, take_s=0.5)
    async with place.relay(shelf, manners=manners) as relay, AsyncExitStack() as guests:
        await enter(guests, "127.0.0.1", relay.port)  # never shakes hands
        await enter(guests, *at(relay), ssl=place.passport("idle").visiting())  # never asks
        slow = await enter(guests, *at(relay), ssl=place.passport("slow").visiting())  # asks and never takes
        slow.transport.pause_reading()
        for _ in range(20):
            slow.write(encode_request([sha256(large)] * 16))
        await nobody_left(relay)
        assert await asked(at(relay), place.passport("device-b").visiting(), FIRST) != b""


async def test_strangers_take_no_more_than_the_seats_there_are(place, shelf):
    async with place.relay(shelf, manners=Manners(guests=8, handshake_s=1)) as relay, AsyncExitStack() as guests:
        most = 0
        for _ in range(20):
            await enter(guests, "127.0.0.1", relay.port)
            await asyncio.sleep(0.005)
            most = max(most, relay.guests)
        assert most == 8
        await nobody_left(relay)
        assert await asked(at(relay), place.passport("device-b").visiting(), FIRST) != b""


async def enter(guests, host, port, **tls):
    """Connect until `guests` ends, which keeps the reader too: asyncio aborts a connection that nobody reads."""
    reader, writer = await asyncio.open_connection(host, port, **tls)
    guests.callback(lambda kept: writer.transport.abort(), reader)
    return writer


async def nobody_left(relay):
    async with asyncio.timeout(8):
        while relay.guests:
            await asyncio.sleep(0.01)


def test_papers_are_judged_by_the_time_that_is_known(place):
    papers = place.passport("device-b")
    other = place.identity("device-c", lifetime=3600)
    der = ssl.PEM_cert_to_DER_cert(other.certificate_file.read_text())
    assert papers.prove(der) == "device-c"
    papers._now = lambda: NOW + 3601
    with pytest.raises(TrustError, match="expired"):
        papers.prove(der)
    papers._now = lambda: 0.0  # a clock that is behind refuses nobody
    assert papers.prove(der) == "device-c"


def test_a_server_by_a_device_s_name_is_no_device(place):
    """Our authority certifies none; a key store that would has no say about who is a neighbour."""
    identity = place.identity("device-c")
    request = x509.load_pem_x509_csr(certificate_request(ensure_key(identity.directory)).encode())
    for usage, is_device in ((ExtendedKeyUsageOID.CLIENT_AUTH, True), (ExtendedKeyUsageOID.SERVER_AUTH, False)):
        leaf = Leaf("device-c", request, request.public_key(), usage, DAY)
        der = place.authority._issue(leaf, at=NOW).public_bytes(Encoding.DER)
        if is_device:
            assert place.passport("device-b").prove(der) == "device-c"
        else:
            with pytest.raises(TrustError, match="none of a device"):
                place.passport("device-b").prove(der)


def test_an_authority_is_no_device(place):
    papers = place.passport("device-b")
    with pytest.raises(TrustError):
        papers.prove(ssl.PEM_cert_to_DER_cert(place.authority.certificate))


@pytest.mark.parametrize("shown", [None, b"", b"not a certificate"])
def test_no_papers_are_no_papers(place, shown):
    with pytest.raises(TrustError):
        place.passport("device-b").prove(shown)


def test_a_forged_name_under_the_same_issuer_name_is_seen(place, tmp_path):
    """Same subject of the authority, another key."""
    forged = certify(make_authority(tmp_path / "thief"), tmp_path / "forger", "device-c")
    der = ssl.PEM_cert_to_DER_cert(forged.certificate_file.read_text())
    with pytest.raises(TrustError, match="no device of this authority"):
        place.passport("device-b").prove(der)
