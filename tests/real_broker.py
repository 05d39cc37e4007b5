"""A real mosquitto with a throw-away authority."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.broker import BrokerFiles, Grant, coordinators, render_access
from shared import topics
from shared.bus import Bus
from shared.bus.mqtt import Endpoint
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

    def __init__(
        self,
        directory: Path,
        certificates: Certificates,
        *,
        revocations: bool = False,
        replicas: Sequence[str] = (),
    ) -> None:
        self.certificates = certificates
        self.coordinators = coordinators(replicas)
        self.access = directory / "access"
        self.revoked = directory / "revoked.pem"
        certificate, key = certificates.issue("broker")
        self.allow([])
        if revocations:
            self.revoked.write_bytes(certificates.revoke())
        self.files = BrokerFiles(
            ca=certificates.ca,
            certificate=certificate,
            key=key,
            access=self.access,
            revoked=self.revoked if revocations else None,
        )
        self.broker = Broker(directory, self.files, port=free_ports(1)[0], executable=find_mosquitto())

    def allow(self, grants: list[Grant]) -> None:
        self.access.write_text(render_access(grants, coordinators=self.coordinators))

    async def reload(self, coordinator: Bus) -> None:
        """Have it read its files again, and return when it has: it heeds signals between two rounds of its loop."""
        self.broker.reload()
        for _ in range(3):
            await coordinator.publish(f"{topics.ROOT}/reloading", b"")

    def endpoint(self, name: str) -> Endpoint:
        certificate, key = self.certificates.issue(name)
        return Endpoint(
            host="127.0.0.1", port=self.broker.port, ca=self.certificates.ca, certificate=certificate, key=key
        )
