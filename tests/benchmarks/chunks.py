"""Model chunks through a real broker: our bus against mosquitto's own clients, mutual TLS and QoS 1 for both.

Sender and receiver are processes of their own. Counted is from the first to the last chunk that the receiver has.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from cloud.devices.broker import Grant
from shared.bundle import CHUNK_SIZE
from shared.bus import Delivery
from shared.bus.mqtt import Endpoint, MqttBus
from shared.errors import FaultError
from shared.ids import device_id, fleet_id, sha256, tenant_id
from shared.topics import chunk, chunks
from simulations.bootstrap.debian import find
from tests.benchmarks.figure import Figure, compare
from tests.real_broker import Certificates, Mosquitto

COUNT = 200
"""50 MiB: the broker queues at most 64 MiB for one receiver and drops the rest, which devices ask for again."""

BLOB = sha256(b"benchmark")
DEVICE = device_id("wrist-1")
DEADLINE_S = 60
CHUNKS = chunks(BLOB)


def measure(*, turns: int = 3) -> Iterator[Figure]:
    """Megabytes a second of 256 KiB chunks; the best of `turns`, since others disturb only downwards."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        mosquitto = Mosquitto(directory, Certificates(directory))
        mosquitto.allow([Grant(DEVICE, fleet_id("home"), tenant_id("acme"))])
        mosquitto.broker.start()
        try:
            receiver, sender = mosquitto.endpoint(DEVICE), mosquitto.endpoint("coordinator")
            rates = [(_ours(sender, receiver), _theirs(sender, receiver, directory)) for _ in range(turns)]
        finally:
            mosquitto.broker.stop()
    yield compare(
        name="chunks.goodput", ours=max(ours for ours, _ in rates), peer=max(peer for _, peer in rates), unit="MB/s",
        better="higher", what_ours="shared.bus.mqtt at both ends", what_peer="mosquitto_pub and mosquitto_sub",
    )  # fmt: skip


def _ours(sender: Endpoint, receiver: Endpoint) -> float:
    ready = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.get_context("spawn").Process(target=_send, args=(sender, ready))
    process.start()
    try:
        return asyncio.run(asyncio.wait_for(_receive(receiver, ready), DEADLINE_S))
    finally:
        process.join(DEADLINE_S)


async def _receive(endpoint: Endpoint, ready: object) -> float:
    bus, times, complete = MqttBus(endpoint, identity=DEVICE, random=Random(1)), [], asyncio.Event()

    async def take(_: Delivery) -> None:
        times.append(time.perf_counter())
        if len(times) == COUNT:
            complete.set()

    bus.on(chunks(BLOB), take)
    running = asyncio.create_task(bus.run(), name="receiver")
    while not bus.connected:
        await asyncio.sleep(0.01)
    ready.set()  # type: ignore[attr-defined]  # multiprocessing's events have no public type
    await complete.wait()
    running.cancel()
    return rate_of(times)


def _send(endpoint: Endpoint, ready: object) -> None:
    async def send() -> None:
        bus, payload = MqttBus(endpoint, identity="coordinator", random=Random(1)), bytes(CHUNK_SIZE)
        running = asyncio.create_task(bus.run(), name="sender")
        await asyncio.to_thread(ready.wait, DEADLINE_S)  # type: ignore[attr-defined]  # as above
        while not bus.connected:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(bus.publish(chunk(BLOB, index), payload) for index in range(COUNT)))
        running.cancel()

    asyncio.run(send())


def _theirs(sender: Endpoint, receiver: Endpoint, directory: Path) -> float:
    lines = directory / "chunks"
    lines.write_bytes((b"x" * CHUNK_SIZE + b"\n") * COUNT)
    subscribe = [*mosquitto_client("mosquitto_sub", receiver), "-t", chunks(BLOB), "-C", str(COUNT), "-F", "%U"]
    listening = subprocess.Popen(subscribe, stdout=subprocess.PIPE, text=True)
    time.sleep(1)  # mosquitto_sub does not say when it is subscribed
    publish = [*mosquitto_client("mosquitto_pub", sender), "-t", chunk(BLOB, 0), "-l"]
    with lines.open("rb") as content:  # a message per line: the one mode in which it does not wait for each PUBACK
        subprocess.run(publish, stdin=content, check=True, timeout=DEADLINE_S)
    said, _ = listening.communicate(timeout=DEADLINE_S)
    return rate_of([float(line) for line in said.split()])


def mosquitto_client(name: str, endpoint: Endpoint) -> list[str]:
    """One of mosquitto's own clients, ready to talk to a broker of ours."""
    program = find(name, home=Path(sys.prefix))
    if program is None:
        raise FaultError(f"{name} is not installed", hint="Run `make bench`, which installs mosquitto-clients.")
    tls = ["--cafile", endpoint.ca, "--cert", endpoint.certificate, "--key", endpoint.key]
    return list(map(str, [program, "-h", endpoint.host, "-p", endpoint.port, *tls, "-q", 1, "-V", "mqttv5"]))


def rate_of(times: list[float]) -> float:
    """Megabytes a second of whole chunks that came at `times`."""
    return (len(times) - 1) * CHUNK_SIZE / (max(times) - min(times)) / 1e6
