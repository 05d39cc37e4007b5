"""Listen in on the broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fleet.decode import decode
from fleet.profile import BrokerAccess, Profile
from fleet.session import one_line, profile
from shared.bus import Delivery
from shared.errors import ContractError, RefusedError
from shared.topics import ROOT

if TYPE_CHECKING:
    from shared.bus.mqtt import Endpoint

EVERYTHING = f"{ROOT}/#"
IDENTITY = "operator"


def tap(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="MQTT filter.")] = EVERYTHING,
    seconds: Annotated[float, typer.Option(help="Stop after so long; 0 for never.", min=0)] = 0.0,
    count: Annotated[int, typer.Option(help="Stop after so many messages; 0 for never.", min=0)] = 0,
) -> None:
    """Print messages of the broker, decoded, one JSON object a line."""
    with one_line():
        chosen = profile(context)
        if chosen.broker is None:
            raise RefusedError("the profile has no [broker] table", hint="Use the coordinator's cli.toml.")
        asyncio.run(_listen(_endpoint(chosen, chosen.broker), topic, seconds=seconds, count=count))


async def _listen(endpoint: Endpoint, topic: str, *, seconds: float, count: int) -> None:
    from shared.bus.mqtt import MqttBus  # aiomqtt is an extra that other commands do without

    bus, done, seen = MqttBus(endpoint, identity=IDENTITY, random=SystemRandom()), asyncio.Event(), 0

    async def show(delivery: Delivery) -> None:
        nonlocal seen
        if not done.is_set():
            typer.echo(line(delivery, at=time.time()))
        seen += 1
        if seen == count:
            done.set()

    bus.on(topic, show)
    session = asyncio.create_task(bus.run(), name="bus")
    try:
        async with asyncio.timeout(seconds or None):
            await done.wait()
    except TimeoutError:
        pass
    finally:
        session.cancel()
        await asyncio.gather(session, return_exceptions=True)


def _endpoint(chosen: Profile, access: BrokerAccess) -> Endpoint:
    from shared.bus.mqtt import Endpoint

    return Endpoint(
        host=access.host,
        port=access.port,
        ca=Path(chosen.ca).expanduser(),
        certificate=Path(access.certificate).expanduser(),
        key=Path(access.key).expanduser(),
    )


def line(delivery: Delivery, *, at: float) -> str:
    """One message as one line of JSON; what cannot be decoded says so."""
    head = {"at": round(at, 3), "topic": delivery.topic, "retained": delivery.retained}
    try:
        said = {"says": decode(delivery.topic, delivery.payload)}
    except ContractError as error:
        said = {"undecodable": {"bytes": len(delivery.payload), "because": str(error)}}
    return msgspec.json.encode(head | said).decode()
