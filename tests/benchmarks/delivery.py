"""The whole way of a model to its devices, against what others would use: a real mosquitto, mutual TLS for all.

The coordinator is a process of its own, and so are the devices (in as many processes as there are cores). They fetch
incompressible bytes in chunks of 256 KiB, prove each, and write it down. The peers are mosquitto's own clients, and
HTTP downloads from uvicorn by clients, in as many processes, that read a socket, hash and write, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from cloud.devices.broker import COORDINATOR, Grant
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.layouts import MemoryLayouts
from cloud.store.blobs import FileBlobs
from edge.update.download import Download
from edge.update.pace import Patience
from edge.update.partial import PartialFile
from shared.bundle import Runtime, Variant, split
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, tenant_id
from tests.benchmarks.delivery_peers import by_http, by_mosquitto, stream_rate
from tests.benchmarks.figure import Figure, compare
from tests.benchmarks.processes import Helpers, shares
from tests.real_broker import Certificates, Mosquitto

ONE_MIB, MANY_MIB = 48, 8
"""Size of the model for one device, and for fifty. The broker queues at most 64 MiB for one receiver and drops the
rest: mosquitto_pub, which waits for nobody, needs all of the model to fit."""

MANY = 50


def measure(*, turns: int = 3) -> Iterator[Figure]:
    """The best of `turns` for times, since others disturb only upwards."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        mosquitto = Mosquitto(place, Certificates(place))
        names = [f"watch-{number}" for number in range(MANY)]
        for name in (COORDINATOR, *names):
            mosquitto.endpoint(name)
        mosquitto.allow([Grant(device_id(name), fleet_id("home"), tenant_id("acme")) for name in names])
        mosquitto.broker.start()
        try:
            yield from _one(mosquitto, place, names, turns)
            yield from _many(mosquitto, place, names, turns)
        finally:
            mosquitto.broker.stop()


def _one(mosquitto: Mosquitto, place: Path, names: list[str], turns: int) -> Iterator[Figure]:
    device, megabytes = names[:1], ONE_MIB * 1.048576
    ours, files, streams = [], [], []
    for _ in range(turns):  # one after the other: what disturbs the machine meanwhile disturbs all alike
        ours.append(megabytes / _ours(mosquitto, place, device, ONE_MIB)[0])
        files.append(megabytes / by_mosquitto(mosquitto, place, device, ONE_MIB))
        streams.append(stream_rate(mosquitto, place, device[0], ONE_MIB))
    what = f"{ONE_MIB} MiB to one device: asked for, proven, on disk"
    yield compare(
        name="delivery.goodput", ours=max(ours), peer=max(files), unit="MB/s", better="higher", what_ours=what,
        what_peer="mosquitto_pub to mosquitto_sub, QoS 1, as large messages, same TLS: until all is in its file",
    )  # fmt: skip
    yield compare(
        name="delivery.stream", ours=max(ours), peer=max(streams), unit="MB/s", better="higher", what_ours=what,
        what_peer="the same messages at mosquitto_sub, from the first to the last: what left the broker's queue",
    )  # fmt: skip


def _many(mosquitto: Mosquitto, place: Path, names: list[str], turns: int) -> Iterator[Figure]:
    alone = _ours(mosquitto, place, names[:1], MANY_MIB)[1]
    ours, plain, secret, bare = [], [], [], []
    for _ in range(turns):
        ours.append(_ours(mosquitto, place, names, MANY_MIB))
        plain.append(by_http(mosquitto, place, names, MANY_MIB, tls=False))
        secret.append(by_http(mosquitto, place, names, MANY_MIB, tls=True))
        bare.append(by_mosquitto(mosquitto, place, names, MANY_MIB))
    yield compare(
        name="delivery.egress", ours=max(sent for _, sent in ours) / 2**20, peer=alone / 2**20, unit="MiB",
        better="lower", what_ours=f"sent by the coordinator for {MANY} devices, the worst of {turns} turns",
        what_peer="sent by the coordinator for one",
    )  # fmt: skip
    what_ours = f"until {MANY} devices have {MANY_MIB} MiB by mutual TLS: proven by chunk, on disk"
    peers = {
        "fleet": (plain, f"plain HTTP from uvicorn, no TLS, to {MANY} connected clients: hashed once, on disk"),
        "fleet_tls": (secret, "the same over mutual TLS, as ours is"),
        "fleet_bare": (
            bare,
            f"mosquitto_pub to {MANY} mosquitto_sub, same TLS: in files, not proven; the broker's limit",
        ),
    }
    for name, (times, what) in peers.items():
        yield compare(
            name=f"delivery.{name}", ours=min(seconds for seconds, _ in ours), peer=min(times), unit="s",
            better="lower", what_ours=what_ours, what_peer=what,
        )  # fmt: skip


def _ours(mosquitto: Mosquitto, place: Path, names: list[str], mib: int) -> tuple[float, int]:
    """Seconds until all have it, and bytes that the coordinator sent."""
    data = os.urandom(mib << 20)
    digest = FileBlobs(place / "blobs").put(data)
    variant = Variant(
        name="model", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest=digest, size=len(data),
        chunks=split(data),
    )  # fmt: skip
    endpoint = mosquitto.endpoint(COORDINATOR)
    with Helpers() as helpers:
        server = helpers.start(_serve, endpoint, place / "blobs", variant)
        for share in shares(names):
            helpers.start(_fetch, [(name, mosquitto.endpoint(name)) for name in share], place, variant)
        seconds = helpers.race()
        server.send("how much")
        return seconds, int(server.recv())


def _serve(pipe: Connection, endpoint: Endpoint, blobs: Path, variant: Variant) -> None:
    async def run() -> None:
        bus = MqttBus(endpoint, identity=COORDINATOR, random=Random(1))
        layouts = MemoryLayouts()
        layouts.add(variant.digest, variant.chunks)
        server = ChunkServer(bus, FileBlobs(blobs), clock=SystemClock(), layouts=layouts)
        tasks = [asyncio.create_task(part.run()) for part in (bus, server)]
        await _connected(bus)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)  # go, which is for the others
        pipe.send(0.0)
        await asyncio.to_thread(pipe.recv)
        pipe.send(server.bytes)
        await asyncio.to_thread(pipe.recv)
        await _cancel(tasks)

    asyncio.run(run())


def _fetch(pipe: Connection, devices: list[tuple[str, Endpoint]], place: Path, variant: Variant) -> None:
    async def one(bus: MqttBus, name: str) -> None:
        partial = PartialFile(place / f"{name}.part", variant)
        clock = SystemClock()
        download = Download(
            bus, partial, device=device_id(name), clock=clock, random=Random(name), patience=Patience()
        )  # fmt: skip
        await download.run(_no_notice)
        await asyncio.to_thread(partial.finish)

    async def run() -> None:
        buses = [(MqttBus(endpoint, identity=name, random=Random(name)), name) for name, endpoint in devices]
        tasks = [asyncio.create_task(bus.run()) for bus, _ in buses]
        for bus, _ in buses:
            await _connected(bus)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        await asyncio.gather(*(one(bus, name) for bus, name in buses))
        pipe.send(time.time())
        await asyncio.to_thread(pipe.recv)
        for _, name in buses:
            (place / f"{name}.part").unlink()
        await _cancel(tasks)

    asyncio.run(run())


async def _no_notice(_: object) -> None: ...


async def _connected(bus: MqttBus) -> None:
    while not bus.connected:
        await asyncio.sleep(0.01)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
