"""The whole way of a model to its devices, against what others would use: a real mosquitto, mutual TLS for all.

The coordinator is a process of its own, and so are the devices (in as many processes as there are cores). They fetch
incompressible bytes in chunks of 256 KiB, prove each, and write it down. The peers are mosquitto's own clients, and
HTTP downloads from uvicorn by clients that read a socket, hash and write, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import uvicorn

from cloud.devices.broker import COORDINATOR, Grant
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.layouts import MemoryLayouts
from cloud.store.blobs import FileBlobs
from edge.update.download import Download
from edge.update.pace import Patience
from edge.update.partial import PartialFile
from shared.bundle import CHUNK_SIZE, Runtime, Variant, split
from shared.bus.mqtt import Endpoint, MqttBus
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, sha256, tenant_id
from simulations.world.ports import answers, free_ports
from tests.benchmarks.chunks import CHUNKS, mosquitto_client, rate_of
from tests.benchmarks.figure import Figure, compare
from tests.real_broker import Certificates, Mosquitto

ONE_MIB, MANY_MIB = 48, 8
"""Size of the model for one device, and for fifty. The broker queues at most 64 MiB for one receiver and drops the
rest: mosquitto_pub, which waits for nobody, needs all of the model to fit."""

MANY = 50
CORES = min(4, os.cpu_count() or 1)
DEADLINE_S = 120
SPAWN = multiprocessing.get_context("spawn")


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
    pairs = [
        (ONE_MIB * 1.048576 / _ours(mosquitto, place, names[:1], ONE_MIB)[0], _mosquitto(mosquitto, place, names[0]))
        for _ in range(turns)
    ]
    yield compare(
        name="delivery.goodput", ours=max(ours for ours, _ in pairs), peer=max(peer for _, peer in pairs), unit="MB/s",
        better="higher", what_ours=f"{ONE_MIB} MiB to one device: asked for, proven, on disk",
        what_peer="the same messages from mosquitto_pub to mosquitto_sub, QoS 1, from the first to the last",
    )  # fmt: skip


def _many(mosquitto: Mosquitto, place: Path, names: list[str], turns: int) -> Iterator[Figure]:
    alone = _ours(mosquitto, place, names[:1], MANY_MIB)[1]
    all_ = [_ours(mosquitto, place, names, MANY_MIB) for _ in range(turns)]
    yield compare(
        name="delivery.egress", ours=max(sent for _, sent in all_) / 2**20, peer=alone / 2**20, unit="MiB",
        better="lower", what_ours=f"sent by the coordinator for {MANY} devices, the worst of {turns} turns",
        what_peer="sent by the coordinator for one",
    )  # fmt: skip
    peer = min(_http(mosquitto, place, MANY_MIB) for _ in range(turns))
    yield compare(
        name="delivery.fleet", ours=min(seconds for seconds, _ in all_), peer=peer, unit="s", better="lower",
        what_ours=f"until {MANY} devices have {MANY_MIB} MiB: proven chunk by chunk and as a whole, on disk",
        what_peer=f"the same by HTTPS from uvicorn to {MANY} connected clients: hashed, on disk",
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
        for share in _shares(names):
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


class Helpers:
    """Processes that get ready, begin on a word, and say when they were done."""

    def __enter__(self) -> Helpers:
        self._processes: list[tuple[Any, Connection]] = []
        return self

    def __exit__(self, *_error: object) -> None:
        for process, pipe in self._processes:
            pipe.send("end")
            process.join(10)
            process.kill()

    def start(self, work: Callable[..., None], *args: object) -> Connection:
        """Have `work(pipe, *args)` get ready in a process of its own."""
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=work, args=(theirs, *args))
        process.start()
        self._processes.append((process, ours))
        return ours

    def race(self) -> float:
        """Wait until all are ready, say go, and return the seconds until the last was done."""
        for _, pipe in self._processes:
            _receive(pipe)
        begun = time.time()
        for _, pipe in self._processes:
            pipe.send("go")
        return max(_receive(pipe) for _, pipe in self._processes) - begun


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(DEADLINE_S):
        raise TimeoutError("a process of the benchmark does not answer")
    return pipe.recv()


def _shares(names: list[str]) -> list[list[str]]:
    return [share for number in range(CORES) if (share := names[number::CORES])]


def _mosquitto(mosquitto: Mosquitto, place: Path, device: str) -> float:
    """Megabytes a second of as many messages of the same size."""
    count, lines = (ONE_MIB << 20) // CHUNK_SIZE, place / "lines"
    lines.write_bytes((b"x" * CHUNK_SIZE + b"\n") * count)  # text: it reads lines; nothing on this way packs them
    subscribe = [*mosquitto_client("mosquitto_sub", mosquitto.endpoint(device)), "-t", CHUNKS, "-C", str(count)]
    listening = subprocess.Popen([*subscribe, "-F", "%U"], stdout=subprocess.PIPE, text=True)
    time.sleep(1)  # mosquitto_sub does not say when it is subscribed
    publish = [*mosquitto_client("mosquitto_pub", mosquitto.endpoint(COORDINATOR)), "-t", CHUNKS[:-1] + "0", "-l"]
    with lines.open("rb") as content:  # a message per line: the one mode in which it does not wait for each PUBACK
        subprocess.run(publish, stdin=content, check=True, timeout=DEADLINE_S)
    try:
        said, _ = listening.communicate(timeout=DEADLINE_S)
    finally:
        listening.kill()
    return rate_of([float(line) for line in said.split()])


def _http(mosquitto: Mosquitto, place: Path, mib: int) -> float:
    """Seconds until all have it."""
    data, port = os.urandom(mib << 20), free_ports(1)[0]
    (place / "download").write_bytes(data)
    certificate, key = mosquitto.certificates.issue("broker")
    files = {"ca": mosquitto.certificates.ca, "certificate": certificate, "key": key}
    with Helpers() as helpers:
        helpers.start(_serve_http, place / "download", port, files)
        while not answers(port):
            time.sleep(0.05)
        for share in _shares([f"watch-{number}" for number in range(MANY)]):
            clients = [(name, *mosquitto.certificates.issue(name)) for name in share]
            helpers.start(_fetch_http, clients, place, port, mosquitto.certificates.ca, sha256(data), len(data))
        return helpers.race()


def _serve_http(pipe: Connection, file: Path, port: int, files: dict[str, Path]) -> None:
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import Route

    app = Starlette(routes=[Route("/", lambda _: FileResponse(file))])
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, ssl_certfile=str(files["certificate"]), ssl_keyfile=str(files["key"]),
        ssl_ca_certs=str(files["ca"]), ssl_cert_reqs=ssl.CERT_REQUIRED, access_log=False, log_level="error",
    )  # fmt: skip
    server = uvicorn.Server(config)

    def follow() -> None:
        pipe.send("ready")
        pipe.recv()
        pipe.send(0.0)
        pipe.recv()
        server.should_exit = True

    threading.Thread(target=follow, daemon=True).start()
    server.run()


def _fetch_http(
    pipe: Connection, clients: list[tuple[str, Path, Path]], place: Path, port: int, ca: Path, digest: str, size: int
) -> None:
    async def connect(certificate: Path, key: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(str(certificate), str(key))
        return await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 20)

    async def one(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        got, whole = 0, hashlib.sha256()
        with (place / f"{name}.http").open("wb") as file:
            while got < size:
                piece = await reader.read(1 << 18)
                whole.update(piece)
                file.write(piece)
                got += len(piece)
            file.flush()
            os.fsync(file.fileno())
        assert whole.hexdigest() == digest
        writer.close()

    async def run() -> None:
        opened = [(name, *await connect(certificate, key)) for name, certificate, key in clients]
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        await asyncio.gather(*(one(*client) for client in opened))
        pipe.send(time.time())
        await asyncio.to_thread(pipe.recv)
        for name, *_ in clients:
            (place / f"{name}.http").unlink()

    asyncio.run(run())
