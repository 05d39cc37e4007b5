"""Strangers at a relay, and relays that lie: a site's own network is no place of trust either."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.devices.issuers import Leaf
from edge.identity.keys import certificate_request, ensure_key
from edge.relay.frames import LENGTH, Has, answer_head, encode_request, read_frame
from edge.relay.neighbours import Relays
from edge.relay.server import Manners
from edge.relay.shelf import Shelf
from edge.relay.visit import Patience
from shared.clock import VirtualClock
from shared.errors import TrustError
from shared.ids import sha256
from tests.site import (
    DAY,
    NOW,
    Place,
    asked,
    at,
    certify,
    impostor,
    make_authority,
    make_partial,
    noise,
    passport,
    told,
)

DATA, SIZE = noise(7, 10_000), 1000
FIRST = sha256(DATA[:SIZE])
QUICK = Patience(connect_s=1, hesitate_s=0.05, poll_s=0.02, silence_s=0.3, floor=100)
"""The floor alone would wait 100 s for ten chunks: what ends earlier was ended by the silence."""


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def shelf(place):
    shelf = Shelf(place.directory / "models")
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


# -- strangers at a relay; the control is a device of the authority, asked the same


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


# -- relays that lie; whatever they do, the neighbour ends soon, keeps only what is signed, and asks elsewhere


class Victim:
    """A neighbour that knows one relay."""

    def __init__(self, place, address, name="device-b", patience=QUICK):
        self.clock = VirtualClock()
        self.partial = make_partial(place.directory / name, DATA, size=SIZE)
        self.relays = Relays([address], passport=place.passport(name), clock=self.clock, patience=patience)

    async def fetch(self, within_s=4.0):
        async with asyncio.timeout(within_s):
            await self.relays.fetch(self.partial)

    @property
    def shunned_s(self):
        return max(self.relays._shunned.values(), default=0.0)


def answers(*frames):
    """A relay that says `frames` to each request, whatever was asked."""
    heard = []

    async def serve(reader, writer):
        while True:
            heard.append(await read_frame(reader, most=1 << 20))
            for frame in frames:
                writer.write(frame)
            await writer.drain()

    return serve, heard


def here(data):
    return answer_head(Has.HERE, len(data)) + data


def honest(data=DATA):
    return [here(data[start : start + SIZE]) for start in range(0, len(data), SIZE)]


@pytest.fixture
def papers(place):
    """What an enrolled device has that turned hostile."""
    return place.passport("relay-1").serving()


async def test_control_an_honest_relay_in_its_place_is_believed(place, papers):
    serve, _ = answers(*honest())
    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert victim.partial.finish().read_bytes() == DATA
    assert victim.shunned_s == 0


async def test_wrong_bytes_are_not_kept_and_their_relay_is_not_asked_again(place, papers):
    frames = honest()
    frames[3] = here(bytes(SIZE))
    serve, heard = answers(*frames)
    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
        assert victim.partial.missing == [3, 4, 5, 6, 7, 8, 9]
        assert victim.shunned_s > 3600
        await victim.fetch()
        assert len(heard) == 1
    for index in victim.partial.missing:  # the rest comes by MQTT, and all is well
        victim.partial.accept(index, DATA[index * SIZE : (index + 1) * SIZE])
    assert victim.partial.finish().read_bytes() == DATA


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param((1 << 31).to_bytes(LENGTH) + b"\x02", id="announces gigabytes"),
        pytest.param(here(bytes(SIZE + 1)), id="a byte too many"),
        pytest.param(here(b""), id="nothing at all"),
        pytest.param(answer_head(Has.ABSENT, 3) + b"xyz", id="absent with bytes"),
        pytest.param(b"\0\0\0\x01\x09", id="an answer there is not"),
        pytest.param(b"\0\0\0\0", id="an empty frame"),
    ],
)
async def test_what_is_no_answer_is_distrusted(place, papers, frame):
    serve, _ = answers(frame)
    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert len(victim.partial.missing) == 10
    assert victim.shunned_s > 3600


async def test_endless_bytes_are_not_read(place, papers):
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await read_frame(reader, most=1 << 20)
        while True:
            writer.write(os.urandom(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert sent < 32 << 20
    assert len(victim.partial.missing) == 10


async def test_a_slow_drip_ends_and_what_was_proven_stays(place, papers):
    async def serve(reader, writer):
        await read_frame(reader, most=1 << 20)
        writer.write(honest()[0])
        for byte in honest()[1]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert victim.partial.missing == list(range(1, 10))
    assert 0 < victim.shunned_s <= 60


async def test_many_small_delays_end_too(place, papers):
    """Each chunk comes just before the silence is over; the floor ends the visit."""

    async def serve(reader, writer):
        await read_frame(reader, most=1 << 20)
        for frame in honest():
            await asyncio.sleep(0.25)
            writer.write(frame)

    async with impostor(papers, serve) as address:
        victim = Victim(place, address, patience=replace(QUICK, floor=20_000))
        began = asyncio.get_running_loop().time()
        await victim.fetch()
    assert asyncio.get_running_loop().time() - began < 1.5
    assert victim.partial.missing


async def test_promises_without_end_end(place, papers):
    serve, heard = answers(*[answer_head(Has.COMING)] * 10)
    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert len(victim.partial.missing) == 10
    assert 2 <= len(heard) <= 30  # looked twice at least, and not in a hot loop


async def test_a_relay_that_dies_in_a_chunk_costs_that_chunk(place, papers):
    async def serve(reader, writer):
        await read_frame(reader, most=1 << 20)
        writer.write(b"".join(honest()[:4]) + honest()[4][:500])
        await writer.drain()
        await asyncio.sleep(0.05)

    async with impostor(papers, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert victim.partial.missing == list(range(4, 10))
    assert 0 < victim.shunned_s <= 60


async def test_a_server_that_never_shakes_hands_is_left(place):
    async def serve(reader, writer):
        await asyncio.sleep(10)

    async with impostor(None, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert 0 < victim.shunned_s <= 60


async def test_a_stranger_in_the_relay_s_place_is_told_nothing(place, tmp_path):
    """Not even which chunks are lacking."""
    theirs = certify(make_authority(tmp_path / "thief"), tmp_path / "stranger", "relay-1")
    heard = []

    async def serve(reader, writer):
        heard.append(await reader.read(1 << 16))

    context = passport(theirs).serving()
    context.verify_mode = ssl.CERT_NONE  # takes whoever comes
    async with impostor(context, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
        await asyncio.sleep(0.05)
    assert b"".join(heard) == b""
    assert victim.shunned_s > 3600
    assert len(victim.partial.missing) == 10


async def test_a_stolen_server_key_makes_no_relay(place, tmp_path):
    stolen = place.authority.issue_server("broker", ["127.0.0.1"], at=NOW)
    (tmp_path / "c.pem").write_text(stolen.certificate)
    (tmp_path / "k.pem").write_text(stolen.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    serve, heard = answers(*honest())
    async with impostor(context, serve) as address:
        victim = Victim(place, address)
        await victim.fetch()
    assert heard == []
    assert victim.shunned_s > 3600


# -- papers


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
