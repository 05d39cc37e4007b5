"""A site in tests: devices with certificates of a real authority, relays on loopback, and strangers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from cloud.devices.authority import Authority
from cloud.release.sealed import Sealer
from edge.identity import Identity
from edge.identity.keys import certificate_request, ensure_key
from edge.relay.address import Address
from edge.relay.frames import encode_request
from edge.relay.passport import Passport
from edge.relay.server import Manners, Relay
from edge.relay.shelf import Shelf
from edge.update.partial import PartialFile
from shared.bundle import CHUNK_SIZE, Runtime, Variant, split
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, sha256, tenant_id

NOW = SystemClock().now()
DAY = 86_400.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def make_authority(directory: Path) -> Authority:
    return Authority.create(directory, name="demo", sealer=Sealer(b"secret", cost=4), at=NOW)


def certify(authority: Authority, directory: Path, name: str, *, at: float = NOW, lifetime: float = DAY) -> Identity:
    """Enrol a device, or renew it where `directory` has its key already."""
    key = ensure_key(directory)
    certificate = authority.issue_device(certificate_request(key), name, at=at, lifetime=lifetime)
    (directory / "device.crt").write_text(certificate)
    (directory / "ca.crt").write_text(authority.certificate)
    return Identity(
        directory=directory,
        device=device_id(name),
        fleet=fleet_id("north"),
        tenant=tenant_id("acme"),
        url="https://localhost:1",
        broker_host="localhost",
        broker_port=1,
        superlink="",
        server_name="",
        root=b"",
    )


def passport(identity: Identity) -> Passport:
    return Passport(identity, now=SystemClock().now)


def make_variant(data: bytes, *, size: int = CHUNK_SIZE) -> Variant:
    return Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(data),
        size=len(data),
        chunks=split(data, size),
    )


def make_partial(directory: Path, data: bytes, *, have: int | None = 0, size: int = CHUNK_SIZE) -> PartialFile:
    """A download of `data` that holds its first `have` chunks; None for all."""
    directory.mkdir(parents=True, exist_ok=True)
    variant = make_variant(data, size=size)
    partial = PartialFile(directory / f"{variant.digest}.part", variant)
    for index in range(len(variant.chunks))[:have]:
        partial.accept(index, data[index * size : (index + 1) * size])
    return partial


class Place:
    """A site's devices."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = make_authority(directory / "ca")

    def identity(self, name: str, **changes: float) -> Identity:
        return certify(self.authority, self.directory / name / "identity", name, **changes)

    def passport(self, name: str) -> Passport:
        return passport(self.identity(name))

    @asynccontextmanager
    async def relay(self, shelf: Shelf, *, manners: Manners | None = None) -> AsyncIterator[Relay]:
        """A relay that listens on loopback while the block lasts."""
        papers = self.passport("relay-1")
        relay = Relay(shelf, listen=Address("127.0.0.1", 0), passport=papers, manners=manners)
        task = asyncio.create_task(relay.run())
        try:
            async with asyncio.timeout(5):
                while not relay.port:
                    await asyncio.sleep(0.005)
            yield relay
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def at(relay: Relay) -> Address:
    return Address("127.0.0.1", relay.port)


async def call(address: Address, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(address.host, address.port, ssl=context)


async def asked(address: Address, context: ssl.SSLContext, *digests: str) -> bytes:
    """The beginning of what a relay says to one request; empty when it ends the connection instead."""
    return await told(address, context, encode_request(digests))


async def told(address: Address, context: ssl.SSLContext, data: bytes) -> bytes:
    """As `asked`, with whatever bytes."""
    try:
        reader, writer = await call(address, context)
    except OSError:
        return b""
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(1 << 20), 3)
    except OSError:
        return b""
    finally:
        writer.transport.abort()


@asynccontextmanager
async def impostor(context: ssl.SSLContext | None, serve: Serve) -> AsyncIterator[Address]:
    """A server of the attacker's that neighbours take for a relay; plain TCP without a context."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=context)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


def noise(seed: int, size: int) -> bytes:
    return Random(seed).randbytes(size)
