"""Who this device is, as it lies on disk after enrolment.

device.key        private key, mode 0600
device.crt        certificate, replaced by renewal
ca.crt            the only authority this device trusts
root.json         first TUF root of its tenant
enrolment.json    the rest of the coordinator's answer; written last, so that it says all of it is there
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509

from edge.identity.keys import KEY_FILE
from shared.durable import read_if_present, write_atomic
from shared.enrolment import EnrolAnswer
from shared.errors import ContractError, FaultError
from shared.ids import DeviceId, FleetId, TenantId, device_id, fleet_id, tenant_id

CERTIFICATE_FILE = "device.crt"
AUTHORITY_FILE = "ca.crt"
ROOT_FILE = "root.json"
ENROLMENT_FILE = "enrolment.json"


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `enrolment.json`."""

    device: str
    fleet: str
    tenant: str
    url: str
    """The API, for renewal."""

    broker_host: str
    broker_port: int
    superlink: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An enrolled device."""

    directory: Path
    device: DeviceId
    fleet: FleetId
    tenant: TenantId
    url: str
    broker_host: str
    broker_port: int
    superlink: str
    """`host:port`, or empty when this device does not train."""

    server_name: str
    """Name in the broker's certificate, or empty when that is `broker_host`."""

    root: bytes
    """First TUF root: where this device's trust in releases starts."""

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a complete identity."""
        return (directory / ENROLMENT_FILE).is_file()

    @classmethod
    def load(cls, directory: Path) -> Identity:
        """Read an identity.

        Raises:
            FaultError: this device is not enrolled, or its files are damaged.
        """
        hint = "Enrol this device with a token."
        data, root = (read_if_present(directory / name) for name in (ENROLMENT_FILE, ROOT_FILE))
        if data is None or root is None:
            raise FaultError(f"{directory} holds no identity", hint=hint)
        try:
            said = msgspec.json.decode(data, type=Enrolment)
            return cls(
                directory=directory,
                device=device_id(said.device),
                fleet=fleet_id(said.fleet),
                tenant=tenant_id(said.tenant),
                url=said.url,
                broker_host=said.broker_host,
                broker_port=said.broker_port,
                superlink=said.superlink,
                server_name=said.server_name,
                root=root,
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ContractError) as error:
            raise FaultError(f"{directory / ENROLMENT_FILE} is damaged", hint=hint) from error

    @property
    def key_file(self) -> Path:
        """Private key, PEM."""
        return self.directory / KEY_FILE

    @property
    def certificate_file(self) -> Path:
        """Certificate, PEM."""
        return self.directory / CERTIFICATE_FILE

    @property
    def authority_file(self) -> Path:
        """The authority to trust, PEM."""
        return self.directory / AUTHORITY_FILE

    def tls(self) -> ssl.SSLContext:
        """A context for mutual TLS with our servers and nobody else; made anew after each renewal.

        Raises:
            FaultError: the files are missing or do not belong together.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.authority_file))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(str(self.certificate_file), str(self.key_file))
        except (OSError, ssl.SSLError) as error:
            raise FaultError(f"the identity in {self.directory} is damaged", hint="Enrol this device again.") from error
        return context


def store(directory: Path, answer: EnrolAnswer, *, url: str) -> Identity:
    """Keep the coordinator's answer and give it back as an identity.

    Raises:
        FaultError: the disk failed; the device is not enrolled and may ask again with the same key.
    """
    for name, text in ((AUTHORITY_FILE, answer.authority), (ROOT_FILE, answer.root)):
        write_atomic(directory / name, text.encode())
    write_atomic(directory / CERTIFICATE_FILE, answer.certificate.encode())
    said = Enrolment(
        device=answer.device,
        fleet=answer.fleet,
        tenant=answer.tenant,
        url=url,
        broker_host=answer.broker_host,
        broker_port=answer.broker_port,
        superlink=answer.superlink,
        server_name=answer.server_name,
    )
    write_atomic(directory / ENROLMENT_FILE, msgspec.json.encode(said))
    return Identity.load(directory)


def read_certificate(pem: str) -> x509.Certificate:
    """Parse a certificate from the coordinator.

    Raises:
        ContractError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise ContractError("the coordinator sent no certificate") from error
