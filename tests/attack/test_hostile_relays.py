"""Relays that lie: whatever they do, a neighbour ends soon, keeps only what is signed, and asks elsewhere."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import replace

import pytest

from edge.relay.frames import LENGTH, Has, answer_head, read_frame
from edge.relay.neighbours import Relays
from edge.relay.visit import Patience
from shared.clock import VirtualClock
from tests.site import NOW, Place, certify, impostor, make_authority, make_partial, noise, passport

DATA, SIZE = noise(7, 10_000), 1000
QUICK = Patience(connect_s=1, hesitate_s=0.05, poll_s=0.02, silence_s=0.3, floor=100)
"""The floor alone would wait 100 s for ten chunks: what ends earlier was ended by the silence."""


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


class Victim:
    """A neighbour that knows one relay."""

    def __init__(self, place, address, name="device-b", patience=QUICK):
        self.clock = VirtualClock()
        self.partial = make_partial(place.directory / name, DATA, size=SIZE)
        self.relays = Relays([address], passport=place.passport(name), clock=self.clock, patience=patience)

    async def fetch(self, within_s=120.0):
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
        await victim.fetch()
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
