"""A broker may say why it ends a session; mosquitto does from 2.1 on, and closes without a word before."""

import asyncio
import logging

import aiomqtt
import pytest

from shared.bus.lanes import Lanes
from shared.bus.session import Session

CONNACK = bytes.fromhex("20 03 00 00 00")
TAKEN_OVER = bytes.fromhex("e0 02 8e 00")
SHUTTING_DOWN = bytes.fromhex("e0 02 8b 00")


@pytest.mark.parametrize(("farewell", "taken_over"), [(TAKEN_OVER, True), (SHUTTING_DOWN, False), (b"", False)])
async def test_why_a_session_ended(farewell, taken_over):
    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(CONNACK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(farewell)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, logger=logging.getLogger("test"), timeout=5
    )
    session = Session(client, lanes=Lanes())
    await session.open()
    assert not session.taken_over
    with pytest.raises(aiomqtt.MqttError):
        await session.pump()
    assert session.taken_over is taken_over
    await session.close()
    server.close()
    await server.wait_closed()
