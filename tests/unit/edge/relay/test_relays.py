"""Relays and neighbours over real TLS on loopback."""

import asyncio

import pytest

from edge.relay.address import Address
from edge.relay.neighbours import Relays, Site
from edge.relay.server import Manners, Relay
from edge.relay.shelf import MAX_CHUNK, Shelf
from edge.relay.visit import Patience
from shared.bundle import CHUNK_SIZE, pieces
from shared.clock import VirtualClock
from shared.errors import RefusedError
from tests.site import Place, asked, at, call, make_partial, noise

DATA = noise(7, 70 * 1000 + 17)
QUICK = Patience(connect_s=2, hesitate_s=0.05, poll_s=0.02, silence_s=0.5)
SIZE = 1000
"""Bytes of a chunk here: 71 of them are more than one request."""


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def shelf_with(place, data=DATA, *, have=None):
    shelf = Shelf(place.directory / "relay-models", clock=VirtualClock())
    partial = make_partial(place.directory / "relay-models" / "m" / "incoming", data, have=have, size=SIZE)
    shelf.lend(partial)
    return shelf, partial


def neighbour(place, *relays, name="device-b", clock=None, patience=QUICK):
    clock = clock or VirtualClock()
    return Relays(relays, passport=place.passport(name), clock=clock, patience=patience)


def lacking(place, data=DATA, *, name="device-b", have=0):
    return make_partial(place.directory / name, data, have=have, size=SIZE)


async def test_a_neighbour_gets_every_byte_from_the_relay(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf) as relay:
        relays, partial = neighbour(place, at(relay)), lacking(place)
        await relays.fetch(partial)
    assert partial.finish().read_bytes() == DATA
    assert relays.saved == len(DATA)
    assert relay.served == 71


async def test_only_what_is_lacking_is_asked_for(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf) as relay:
        partial = lacking(place, have=60)
        await neighbour(place, at(relay)).fetch(partial)
    assert partial.missing == []
    assert relay.served == 11


async def test_a_chunk_that_occurs_often_is_given_once(place):
    data = bytes(SIZE) * 9 + noise(8, SIZE)
    shelf, _ = shelf_with(place, data)
    async with place.relay(shelf) as relay:
        partial = lacking(place, data)
        await neighbour(place, at(relay)).fetch(partial)
    assert partial.missing == []
    assert relay.served == 2


async def test_what_the_relay_lacks_stays_lacking(place):
    shelf, download = shelf_with(place, have=40)
    download.close()
    async with place.relay(shelf) as relay:
        partial = lacking(place)
        relays = neighbour(place, at(relay))
        await relays.fetch(partial)
        assert partial.missing == list(range(40, 71))
        download = make_partial(place.directory / "relay-models" / "m" / "incoming", DATA, have=41, size=SIZE)
        shelf.lend(download)
        download.close()
        await relays.fetch(partial)  # which was nobody's fault: the relay is asked again
    assert partial.missing == list(range(41, 71))


async def test_the_next_relay_is_asked_for_the_rest(place):
    shelf, download = shelf_with(place, have=40)
    download.close()
    gone = Address("127.0.0.1", 1)
    other = Shelf(place.directory / "other-models", clock=VirtualClock())
    other.lend(make_partial(place.directory / "other-models", DATA, size=SIZE, have=None))
    async with place.relay(shelf) as relay, place.relay(other) as second:
        partial = lacking(place)
        await neighbour(place, gone, at(relay), at(second)).fetch(partial)
    assert partial.missing == []
    assert (relay.served, second.served) == (40, 31)


async def test_a_relay_that_downloads_itself_is_waited_for(place):
    shelf, download = shelf_with(place, have=3)
    chunks = list(pieces(DATA, SIZE))
    async with place.relay(shelf) as relay:
        partial = lacking(place)
        fetching = asyncio.create_task(neighbour(place, at(relay)).fetch(partial))
        for index in range(3, 71):
            await asyncio.sleep(0.002)
            download.accept(index, chunks[index])
        await fetching
    assert partial.missing == []


async def test_a_relay_that_stands_still_is_not_waited_for_long(place):
    shelf, _download = shelf_with(place, have=3)
    clock = VirtualClock()
    async with place.relay(shelf) as relay:
        partial = lacking(place)
        relays = neighbour(place, at(relay), clock=clock)
        async with asyncio.timeout(3):
            await relays.fetch(partial)
        assert partial.missing == list(range(3, 71))
        served = relay.served
        await relays.fetch(partial)  # left alone for a while
        assert relay.served == served
        _download.accept(3, list(pieces(DATA, SIZE))[3])
        clock.advance(61)
        await relays.fetch(partial)
    assert partial.missing == list(range(4, 71))


async def test_a_relay_that_hears_of_the_release_a_moment_later_is_asked_once_more(place):
    shelf = Shelf(place.directory / "relay-models", clock=VirtualClock())
    async with place.relay(shelf) as relay:
        partial = lacking(place)
        patience = Patience(hesitate_s=0.3, poll_s=0.02)
        fetching = asyncio.create_task(neighbour(place, at(relay), patience=patience).fetch(partial))
        await asyncio.sleep(0.1)
        shelf.lend(make_partial(place.directory / "late", DATA, size=SIZE, have=None))
        await fetching
    assert partial.missing == []


async def test_without_a_relay_nothing_takes_long(place):
    partial = lacking(place)
    async with asyncio.timeout(2):
        await neighbour(place, Address("127.0.0.1", 1)).fetch(partial)
    assert len(partial.missing) == 71


async def test_many_neighbours_are_served_at_once_and_their_number_is_bounded(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf, manners=Manners(guests=4)) as relay:
        names = [f"device-{number}" for number in range(4)]
        partials = [lacking(place, name=name) for name in names]
        contexts = [place.passport(name).visiting() for name in names]
        idle = [await call(at(relay), context) for context in contexts]
        turned_away = neighbour(place, at(relay), name="device-9")
        await turned_away.fetch(lacking(place, name="device-9"))
        assert turned_away.saved == 0
        for _, writer in idle:
            writer.transport.abort()
        async with asyncio.timeout(3):
            while relay.guests:
                await asyncio.sleep(0.01)
        relays = [neighbour(place, at(relay), name=name) for name in names]
        await asyncio.gather(*(each.fetch(partial) for each, partial in zip(relays, partials, strict=True)))
    assert [partial.missing for partial in partials] == [[]] * 4


async def test_one_device_cannot_take_all_seats(place):
    shelf, _ = shelf_with(place)
    digest = shelf._lent[next(iter(shelf._lent))].partial.variant.chunks[0].digest
    async with place.relay(shelf, manners=Manners(each=2)) as relay:
        context = place.passport("greedy").visiting()
        idle = [await call(at(relay), context) for _ in range(2)]
        async with asyncio.timeout(3):
            while relay._present["greedy"] < 2:
                await asyncio.sleep(0.01)
        assert await asked(at(relay), context, digest) == b""
        assert await asked(at(relay), place.passport("modest").visiting(), digest) != b""
        for _, writer in idle:
            writer.transport.abort()


async def test_a_renewed_certificate_is_taken_up_without_a_restart(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf) as relay:
        first = await _shown(place, relay)
        assert await _shown(place, relay) == first
        place.identity("relay-1")  # renews what lies there
        second = await _shown(place, relay)
        assert second != first
        visitor = place.passport("device-b")
        old = visitor.visiting()
        assert visitor.visiting() is old
        place.identity("device-b")
        assert visitor.visiting() is not old


async def _shown(place, relay):
    _, writer = await call(at(relay), place.passport("device-z").visiting())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown


async def test_a_relay_whose_address_is_taken_tries_again(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf) as first:
        again = Relay(shelf, listen=at(first), passport=place.passport("relay-2"), manners=Manners(retry_s=0.05))
        task = asyncio.create_task(again.run())
        await asyncio.sleep(0.2)
        assert again.port == 0 and not task.done()
        address = at(first)
    async with asyncio.timeout(3):
        while not again.port:
            await asyncio.sleep(0.01)
    assert again.port == address.port
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert again.port == 0


async def test_a_relay_is_not_its_own_neighbour(place):
    shelf, _ = shelf_with(place)
    async with place.relay(shelf) as relay:
        partial = lacking(place)
        await neighbour(place, at(relay), name="relay-1").fetch(partial)
    assert len(partial.missing) == 71


async def test_what_a_neighbour_is_given_it_can_give_on(place):
    shelf, _ = shelf_with(place)
    own = Shelf(place.directory / "own-models", clock=VirtualClock())
    async with place.relay(shelf) as relay, place.relay(own) as second:
        partial = lacking(place)
        await Site(shelf=own, relays=neighbour(place, at(relay))).fetch(partial)
        further = lacking(place, name="device-c")
        await neighbour(place, at(second), name="device-c").fetch(further)
    assert further.missing == []
    assert second.served == 71


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("192.168.1.5:8890", "192.168.1.5", 8890), ("[fe80::1]:1", "fe80::1", 1), ("gate.lan:65535", "gate.lan", 65_535)],
)
def test_an_address_is_read_and_written(text, host, port):
    assert Address.parse(text) == (host, port)
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "a b:80", "h:80\n"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(RefusedError):
        Address.parse(text)


def test_chunks_of_releases_fit_a_relay():
    assert MAX_CHUNK >= CHUNK_SIZE
