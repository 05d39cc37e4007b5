"""What others would use to bring the same bytes to the same devices: mosquitto's own clients, and HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import subprocess
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn

from cloud.devices.broker import COORDINATOR
from shared.bundle import CHUNK_SIZE
from shared.errors import FaultError
from shared.ids import Digest, sha256
from simulations.world.ports import answers, free_ports
from tests.benchmarks.chunks import CHUNKS, mosquitto_client, rate_of
from tests.benchmarks.processes import DEADLINE_S, Helpers, shares
from tests.real_broker import Mosquitto

LINE = bytes(byte if byte not in b"\0\n" else 0x20 for byte in range(256))
"""Bytes as mosquitto_pub reads them from a line: it ends at either of two."""


def by_mosquitto(mosquitto: Mosquitto, place: Path, devices: list[str], mib: int) -> float:
    """Seconds from the start of mosquitto_pub until each mosquitto_sub has all of it in a file.

    Less what mosquitto_pub takes for a message without content: our own sessions are open before the clock starts.

    Raises:
        FaultError: a file is not what was sent.
    """
    lines = [os.urandom(CHUNK_SIZE).translate(LINE) for _ in range((mib << 20) // CHUNK_SIZE)]
    (place / "lines").write_bytes(b"".join(line + b"\n" for line in lines))  # it reads messages as lines of text
    publish = [*mosquitto_client("mosquitto_pub", mosquitto.endpoint(COORDINATOR)), "-t", CHUNKS[:-1] + "0"]
    start_s = min(_seconds([*publish, "-n"]) for _ in range(3))
    listening = [_into_file(mosquitto, device, place / f"{device}.sub", len(lines)) for device in devices]
    try:
        time.sleep(1 + len(devices) / 20)  # mosquitto_sub does not say when it is subscribed
        begun = time.time()
        _seconds([*publish, "-l"], place / "lines")  # the one mode in which it does not wait for each PUBACK
        for process in listening:
            process.wait(DEADLINE_S)
        seconds = time.time() - begun
    finally:
        for process in listening:
            process.kill()
    for device in devices:
        if sha256((place / f"{device}.sub").read_bytes()) != sha256(b"".join(lines)):
            raise FaultError(f"mosquitto_sub wrote something else for {device}", hint="Did it subscribe in time?")
        (place / f"{device}.sub").unlink()
    return seconds - start_s


def _into_file(mosquitto: Mosquitto, device: str, path: Path, count: int) -> subprocess.Popen[bytes]:
    subscribe = mosquitto_client("mosquitto_sub", mosquitto.endpoint(device))
    with path.open("wb") as file:
        return subprocess.Popen([*subscribe, "-t", CHUNKS, "-C", str(count), "-N"], stdout=file)


def _seconds(command: list[str], content: Path = Path(os.devnull)) -> float:
    begun = time.time()
    with content.open("rb") as file:
        subprocess.run(command, stdin=file, check=True, timeout=DEADLINE_S)
    return time.time() - begun


def stream_rate(mosquitto: Mosquitto, place: Path, device: str, mib: int) -> float:
    """Megabytes a second between the first and the last message that mosquitto_sub has, and forgets.

    The broker has read most of them before the first one leaves.
    """
    count, lines = (mib << 20) // CHUNK_SIZE, place / "lines"
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


def by_http(mosquitto: Mosquitto, place: Path, devices: list[str], mib: int, *, tls: bool) -> float:
    """Seconds until all have it: hashed, and in a file that is on the disk; by HTTPS both ends show certificates."""
    data, port = os.urandom(mib << 20), free_ports(1)[0]
    (place / "download").write_bytes(data)
    certificate, key = mosquitto.certificates.issue("broker")
    files = {"ca": mosquitto.certificates.ca, "certificate": certificate, "key": key} if tls else {}
    with Helpers() as helpers:
        helpers.start(_serve_http, place / "download", port, files)
        while not answers(port):
            time.sleep(0.05)
        for share in shares(devices):
            clients = [(name, *mosquitto.certificates.issue(name)) for name in share]
            authority = mosquitto.certificates.ca if tls else None
            helpers.start(_fetch_http, clients, place, port, authority, sha256(data), len(data))
        return helpers.race()


def _serve_http(pipe: Connection, file: Path, port: int, files: dict[str, Path]) -> None:
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import Route

    app = Starlette(routes=[Route("/", lambda _: FileResponse(file))])
    config = uvicorn.Config(app, host="127.0.0.1", port=port, access_log=False, log_level="error", **_tls(files))
    server = uvicorn.Server(config)

    def follow() -> None:
        pipe.send("ready")
        pipe.recv()
        pipe.send(0.0)
        pipe.recv()
        server.should_exit = True

    threading.Thread(target=follow, daemon=True).start()
    server.run()


def _tls(files: dict[str, Path]) -> dict[str, Any]:
    if not files:
        return {}
    return {
        "ssl_certfile": str(files["certificate"]), "ssl_keyfile": str(files["key"]), "ssl_ca_certs": str(files["ca"]),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }  # fmt: skip


def _context(authority: Path | None, certificate: Path, key: Path) -> ssl.SSLContext | None:
    if authority is None:
        return None
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(str(certificate), str(key))
    return context


def _fetch_http(
    pipe: Connection,
    clients: list[tuple[str, Path, Path]],
    place: Path,
    port: int,
    ca: Path | None,
    digest: Digest,
    size: int,
) -> None:
    async def connect(certificate: Path, key: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port, ssl=_context(ca, certificate, key), limit=1 << 20)

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
