"""The HTTP side over real sockets: what callers are given, and when they are let go."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge.reception import House, Reception, open_streams
from edge.relay.address import Address
from edge.serving.http import PIECE, Connection, HttpError, Manners, Response

QUICK = Manners(idle_s=0.3, head_s=0.3, body_s=0.3, write_s=5, body_bytes=1000)


async def echo(request):
    if request.path == "/refused":
        raise HttpError(503, "no", headers={"Retry-After": "1"})
    if request.path == "/stream":
        return Response(stream=pieces())
    body = await request.body() if request.method == "POST" else b""
    return Response(content=f"{request.method} {request.path} ".encode() + body)


async def pieces():
    for each in (b"one ", b"two"):
        yield each


@pytest.fixture
def served():
    @asynccontextmanager
    async def serve(manners=QUICK, guests=8, handle=echo):
        async def receive(guest):
            reader, writer = await open_streams(guest, None, limit=PIECE, handshake_s=5)
            await Connection(reader, writer, handle=handle, manners=manners).run()

        house = House(name="test", callers="caller", guests=guests)
        reception = Reception(house, listen=Address("127.0.0.1", 0), receive=receive)
        task = asyncio.create_task(reception.run())
        while not reception.port:
            await asyncio.sleep(0.005)
        try:
            yield reception
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return serve


async def call(reception):
    return await asyncio.open_connection("127.0.0.1", reception.port)


async def said(reception, data, *, more=b""):
    """All that comes back until the other side closes; nothing when it closes without having read."""
    reader, writer = await call(reception)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(-1), 60)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_one_connection_many_requests(served):
    async with served() as reception:
        reader, writer = await call(reception)
        for _ in range(3):
            writer.write(b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(11) == b"POST /a abc"
        writer.close()


async def test_a_body_is_waited_for_only_where_it_is_wanted(served):
    async with served() as reception:
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await call(reception)
        writer.write(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        answer = await said(reception, head.replace(b"/a", b"/refused"))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()


async def test_chunked_bodies_both_ways(served):
    async with served() as reception:
        chunked = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        answer = await said(reception, chunked + b"3\r\nabc\r\n0\r\n\r\n")
        assert answer.endswith(b"POST /a abc")
        answer = await said(reception, b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"one " in answer
        assert b"two" in answer


async def test_who_asks_for_the_head_gets_the_head(served):
    async with served() as reception:
        answer = await said(reception, b"HEAD /abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n")
        assert b"HEAD" not in answer


async def test_bodies_have_a_size(served):
    async with served() as reception:
        answer = await said(reception, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)
        assert answer.startswith(b"HTTP/1.1 413")
        chunked = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3ff\r\n" + b"x" * 1023
        assert (await said(reception, chunked)).startswith(b"HTTP/1.1 413")


async def test_a_refusal_arrives_although_the_body_is_on_its_way(served):
    async with served() as reception:
        reader, writer = await call(reception)
        writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"x" * 600_000)
        answer = await asyncio.wait_for(reader.read(-1), 60)
        assert answer.startswith(b"HTTP/1.1 503")
        writer.close()


@pytest.mark.parametrize(
    "dripped",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost:", b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"],
    ids=["nothing", "line", "headers", "body"],
)
async def test_who_drips_is_let_go(served, dripped):
    async with served() as reception:
        answer = await said(reception, dripped)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        while reception.guests:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_nonsense_ends_in_an_error_and_never_in_silence_for_others(served, nonsense):
    async with served() as reception:
        answer = await said(reception, nonsense)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or answer == b""
        good = await said(reception, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert good.startswith(b"HTTP/1.1 200")


async def test_beyond_its_seats_nobody_is_heard(served):
    async with served(Manners(), guests=2) as reception:
        held = [await call(reception) for _ in range(2)]
        while reception.guests < 2:
            await asyncio.sleep(0.005)
        assert await said(reception, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert reception.turned_away == 1
        for _, writer in held:
            writer.close()
