"""Real servers for the tests that want them."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.broker import AccessList, BrokerFiles, Grant, render_access
from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from cloud.distribution.metadata import MetadataPublisher
from cloud.release.keys import MemoryKeys
from cloud.release.repository import Repository
from edge.link.retained import RetainedFiles
from edge.update.attempt import Parts
from edge.update.download import Patience
from edge.update.journal import Journal
from edge.update.reconcile import Reconciler
from edge.update.serving import MemoryServing
from edge.update.trust import Trust
from shared.bundle import FleetDesired, Release, Runtime, Schema, Variant, split
from shared.bus.memory import MemoryBroker
from shared.bus.mqtt import Endpoint
from shared.clock import SystemClock
from shared.ids import device_id, fleet_id, sha256, tenant_id
from shared.messages import UpdateStatus
from shared.trust import TrustClient
from simulations.broker import Broker, find_mosquitto
from simulations.world.ports import free_ports

DAY = datetime.timedelta(days=1)


class Certificates:
    """A throw-away authority for TLS in tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = directory / "ca.pem"
        self.root = self._certificate("test authority", self._key, ca=True)
        self.ca.write_bytes(self.root.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key files for a common name, good for 127.0.0.1 too."""
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        if not certificate.exists():
            secret = ec.generate_private_key(ec.SECP256R1())
            certificate.write_bytes(self._certificate(name, secret, ca=False).public_bytes(Encoding.PEM))
            key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key

    def serial(self, name: str) -> int:
        return x509.load_pem_x509_certificate((self.directory / f"{name}.pem").read_bytes()).serial_number

    def revoke(self, *names: str) -> bytes:
        """A revocation list (PEM)."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.root.subject)
        builder = builder.last_update(now - DAY).next_update(now + DAY)
        for name in names:
            revoked = x509.RevokedCertificateBuilder().serial_number(self.serial(name)).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if ca else self.root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
            hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(usage, critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Mosquitto:
    """A real broker with an authority of its own."""

    def __init__(self, directory: Path, certificates: Certificates, *, revocations: bool = False) -> None:
        self.certificates = certificates
        self.access = directory / "access"
        self.revoked = directory / "revoked.pem"
        certificate, key = certificates.issue("broker")
        self.allow([])
        if revocations:
            self.revoked.write_bytes(certificates.revoke())
        files = BrokerFiles(
            ca=certificates.ca,
            certificate=certificate,
            key=key,
            access=self.access,
            revoked=self.revoked if revocations else None,
        )
        self.broker = Broker(directory, files, port=free_ports(1)[0], executable=find_mosquitto())

    def allow(self, grants: list[Grant]) -> None:
        self.access.write_text(render_access(grants))

    def endpoint(self, name: str) -> Endpoint:
        certificate, key = self.certificates.issue(name)
        return Endpoint(
            host="127.0.0.1", port=self.broker.port, ca=self.certificates.ca, certificate=certificate, key=key
        )


Until = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait for a condition, and fail when it does not come true."""

    async def wait(true: Callable[[], bool], within_s: float = 8) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def running(until: Until) -> Running:
    """Run parts that have a `run` while the block lasts; a bus among them is connected when it begins."""

    @asynccontextmanager
    async def run(*parts: Any) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            for part in parts:
                await until(lambda part=part: getattr(part, "connected", True))
            yield
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            broken = [error for error in outcomes if isinstance(error, Exception)]
            assert not broken, broken

    return run


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_mosquitto(tmp_path: Path, certificates: Certificates) -> Iterator[Callable[..., Mosquitto]]:
    """Start a broker that knows the given devices; stopped after the test."""
    started: list[Broker] = []

    def make(grants: list[Grant], *, revocations: bool = False) -> Mosquitto:
        mosquitto = Mosquitto(tmp_path, certificates, revocations=revocations)
        mosquitto.allow(grants)
        mosquitto.broker.start()
        started.append(mosquitto.broker)
        return mosquitto

    yield make
    for broker in started:
        broker.stop()


TENANT, FLEET, DEVICE = tenant_id("acme"), fleet_id("north"), device_id("device-a")
PATIENCE = Patience(silence_s=0.05, most_s=0.2, give_up_s=2)


class DeviceWorld:
    """One device's update station on a bus; `restart` is what a new process of the agent would do."""

    def __init__(self, world: UpdateWorld, directory: Path) -> None:
        self.world = world
        self.directory = directory
        self.bus = world.broker.bus(DEVICE)
        self.serving = MemoryServing()
        self.said: list[UpdateStatus] = []
        self.patience = PATIENCE
        self.files = RetainedFiles(self.bus, tenant=TENANT, fleet=FLEET)
        self.clock = SystemClock()
        self.reconciler = self._reconciler()

    def restart(self, serving: MemoryServing | None = None) -> None:
        """A new process over the same disk; what is in memory is gone."""
        self.serving = serving or MemoryServing()
        self.reconciler = self._reconciler()

    @property
    def models(self) -> Path:
        return self.directory / "models"

    def stages(self, release: str) -> list[str]:
        return [status.stage.value for status in self.said if status.release == release]

    def reasons(self, release: str) -> list[str]:
        return [status.reason for status in self.said if status.release == release and status.reason]

    def _reconciler(self) -> Reconciler:
        client = TrustClient(
            self.directory / "trust", root=self.world.repository.root_bytes, source=self.files, clock=self.clock
        )
        self.parts = Parts(
            device=DEVICE,
            models=self.models,
            bus=self.bus,
            trust=Trust(client, fleet=FLEET, hardware=["cpu"], runtimes=[Runtime.ONNXRUNTIME]),
            journal=Journal(self.directory / "journal.json"),
            serving=self.serving,
            report=self._say,
            clock=self.clock,
            random=Random(1),
            patience=self.patience,
        )
        return Reconciler(self.parts)

    async def _say(self, status: UpdateStatus) -> None:
        self.said.append(status)


class UpdateWorld:
    """A coordinator that signs and distributes, on a broker in memory, and one device."""

    def __init__(self, directory: Path, until: Until) -> None:
        self.until = until
        self.clock = SystemClock()
        self.broker = MemoryBroker(allow=AccessList([Grant(DEVICE, FLEET, TENANT)]))
        self.coordinator = self.broker.bus("coordinator")
        self.blobs = MemoryBlobs()
        self.server = ChunkServer(self.coordinator, self.blobs, clock=self.clock, gather_s=0, quiet_s=0.01)
        self.publisher = MetadataPublisher(self.coordinator, tenant=TENANT)
        self.repository = Repository.create(directory / "tuf", keys=MemoryKeys(), tenant=TENANT, clock=self.clock)
        self.repository.add_fleet(FLEET)
        self.device = DeviceWorld(self, directory / "device")

    @property
    def parts(self) -> tuple[Any, ...]:
        return (self.coordinator, self.device.bus, self.server)

    def release(self, counter: int, data: bytes, *, model: str = "activity", hardware: str = "cpu") -> Release:
        """Sign a release of one variant."""
        variant = Variant(
            name="cpu.onnx",
            runtime=Runtime.ONNXRUNTIME,
            precision="fp32",
            hardware=[hardware],
            digest=self.blobs.put(data),
            size=len(data),
            chunks=split(data),
        )
        schema = Schema(kind="classification", labels=["a", "b"], input_shape=[6, 100])
        release = Release(
            id=f"{model}-{counter}", model=model, counter=counter, schema=schema, variants=[variant], created=1.0
        )
        self.repository.publish_release(release)
        return release

    async def desire(self, **releases: str) -> None:
        """Sign what the fleet should run, publish, and wait until the device's cache has it."""
        self.repository.set_desired(FleetDesired(fleet=FLEET, default=releases))
        await self.publish()

    async def publish(self) -> None:
        version = self.repository.timestamp_version
        await self.publisher.publish(self.repository.files(), fleets=[FLEET], timestamp=version)
        stamp = dict(self.repository.files())["metadata/timestamp.json"]
        await self.until(lambda: sha256(self.device.files.read("metadata/timestamp.json") or b"") == sha256(stamp))


@pytest.fixture
def update_world(tmp_path: Path, until: Until) -> UpdateWorld:
    return UpdateWorld(tmp_path, until)
