"""The certificate authority of one installation: who is who on the broker and the API.

From a device's request only the public key is taken, and the proof that the requester holds its private half;
everything else is said by `cloud.devices.profiles`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cloud.devices.profiles import DAY, authority, leaf, revocations
from cloud.release.sealed import Sealer
from shared.clock import utc
from shared.durable import read_if_present, write_atomic
from shared.enrolment import RenewRequest, RescueRequest, renewal_statement, rescue_statement
from shared.errors import ContractError, FaultError, RefusedError, TrustError
from shared.ids import RESERVED, DeviceId, device_id, sha256

DEVICE_LIFETIME = 30 * DAY
"""Renewal begins at half of it: a device may be off for two weeks, or the coordinator away, and nobody loses a session;
a key that was taken without anybody noticing opens doors for a month at most, unless the thief renews, and that shows.
"""

SERVER_LIFETIME = 90 * DAY
REVOCATION_LIFETIME = 7 * DAY

MAX_REQUEST = 16 << 10
"""Bytes of a certificate request; one for P-256 has about 400."""

_PURPOSE = "authority key"


class Credentials(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """Signs certificates with a key that lies sealed on disk."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Use `open` or `create`."""
        self._certificate = certificate
        self._key = key

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a complete authority."""
        return (directory / "ca.crt").is_file()

    @classmethod
    def create(cls, directory: Path, *, name: str, sealer: Sealer, at: float) -> Authority:
        """Make an authority; its certificate is written last and decides whether there is one.

        Raises:
            RefusedError: there is one already.
        """
        if cls.exists(directory):
            raise RefusedError(f"{directory} holds an authority already", hint="Open it.")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority(name, key.public_key(), at=at).sign(key, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(directory / "ca.key", sealer.seal(secret, purpose=_PURPOSE), mode=0o600)
        write_atomic(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key)

    @classmethod
    def open(cls, directory: Path, *, sealer: Sealer) -> Authority:
        """Open an authority.

        Raises:
            RefusedError: the passphrase is wrong.
            FaultError: files are missing or do not belong together.
        """
        sealed, pem = read_if_present(directory / "ca.key"), read_if_present(directory / "ca.crt")
        if sealed is None or pem is None:
            raise FaultError(f"{directory} holds no authority", hint="Create it, or restore it from a backup.")
        key = serialization.load_der_private_key(sealer.unseal(sealed, purpose=_PURPOSE), password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise FaultError(f"key and certificate in {directory} differ", hint="Restore both from one backup.")
        return cls(certificate, key)

    @property
    def certificate(self) -> str:
        """PEM, for everybody."""
        return _pem(self._certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in DER, as it stands in tokens."""
        return sha256(self._certificate.public_bytes(serialization.Encoding.DER))

    def issue_device(self, csr: str, device: str, *, at: float, lifetime: float = DEVICE_LIFETIME) -> str:
        """Certify that the key in `csr` is `device`'s; every name and extension in `csr` is ignored.

        Args:
            csr: PKCS#10, PEM.
            device: becomes the common name, and nothing else does.
            at: Unix seconds.
            lifetime: seconds.

        Raises:
            ContractError: no request, a bad device id, or a name of our own servers.
            TrustError: the requester did not prove that it holds the key.
        """
        name = device_id(device)
        key = _requested_key(csr)
        return _pem(self._issue(name, key, usage=ExtendedKeyUsageOID.CLIENT_AUTH, at=at, lifetime=lifetime))

    def issue_server(
        self, name: str, hosts: Iterable[str], *, at: float, lifetime: float = SERVER_LIFETIME
    ) -> Credentials:
        """Certify one of our servers for the DNS names and IP addresses in `hosts`.

        Raises:
            RefusedError: `name` is not reserved for our servers.
        """
        return self._service(name, ExtendedKeyUsageOID.SERVER_AUTH, hosts=list(hosts), at=at, lifetime=lifetime)

    def issue_client(self, name: str, *, at: float, lifetime: float = SERVER_LIFETIME) -> Credentials:
        """Certify one of our servers as a client of the broker.

        Raises:
            RefusedError: `name` is not reserved for our servers.
        """
        return self._service(name, ExtendedKeyUsageOID.CLIENT_AUTH, hosts=[], at=at, lifetime=lifetime)

    def check_renewal(self, request: RenewRequest, *, at: float) -> DeviceId:
        """Prove that the holder of a device's present key asks; the caller still owes the revocation check.

        Raises:
            ContractError: a part is not what it should be.
            TrustError: the certificate is not ours or has expired, or the signature is not by its key.
        """
        certificate = _certificate(request.certificate)
        # (1) in date, (2) ours and a device's, (3) and its key asks
        if not certificate.not_valid_before_utc <= utc(at) <= certificate.not_valid_after_utc:
            raise TrustError("the present certificate is out of date", hint="Enrol the device again.")
        return self._holder(certificate, request.signature, renewal_statement(request.csr))

    def check_rescue(self, request: RescueRequest, *, at: float, grace: float) -> DeviceId:
        """Prove that the holder of an expired certificate's key asks, not later than `grace` seconds after its end.

        The caller still owes that the device was not revoked, that this was its newest certificate, and that the
        request is for the same key.

        Raises:
            ContractError: a part is not what it should be.
            TrustError: the certificate is not ours or expired too long ago, or the signature is not by its key.
            RefusedError: the certificate is still good.
        """
        certificate = _certificate(request.certificate)
        # (1) expired, (2) not for too long, (3) ours and a device's, (4) and its key asks
        ended = certificate.not_valid_after_utc.timestamp()
        if at <= ended:
            raise RefusedError("the certificate is still good", hint="Renew it.")
        if at > ended + grace:
            raise TrustError("the certificate expired too long ago", hint="Enrol the device with a new token.")
        return self._holder(certificate, request.signature, rescue_statement(request.csr))

    def revocation_list(
        self, revoked: Mapping[int, float], *, at: float, number: int, lifetime: float = REVOCATION_LIFETIME
    ) -> str:
        """List revoked certificates, PEM.

        Args:
            revoked: serial number → Unix seconds of its revocation.
            at: Unix seconds.
            number: grows with each list.
            lifetime: seconds until the next list is due; a broker refuses everybody after that.
        """
        profile = revocations(revoked, issuer=self._certificate, at=at, lifetime=lifetime, number=number)
        return profile.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _service(
        self, name: str, usage: ObjectIdentifier, *, hosts: list[str], at: float, lifetime: float
    ) -> Credentials:
        if name not in RESERVED:
            raise RefusedError(f"{name!r} is no name of our servers", hint=f"Use one of {', '.join(sorted(RESERVED))}.")
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self._issue(name, key.public_key(), usage=usage, at=at, lifetime=lifetime, hosts=hosts)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(_pem(issued), private.decode())

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        usage: ObjectIdentifier,
        at: float,
        lifetime: float,
        hosts: Collection[str] = (),
    ) -> x509.Certificate:
        profile = leaf(name, key, usage=usage, issuer=self._certificate, at=at, lifetime=lifetime, hosts=hosts)
        return profile.sign(self._key, hashes.SHA256())

    def _holder(self, certificate: x509.Certificate, signature: bytes, statement: bytes) -> DeviceId:
        """The device whose certificate of ours it is, and whose key made `signature`."""
        self._prove_ours(certificate)
        name = device_id(_common_name(certificate))
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TrustError("the present certificate has a foreign kind of key")
        try:
            key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise TrustError("the renewal is not signed by the present key") from error
        return name

    def _prove_ours(self, certificate: x509.Certificate) -> None:
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise TrustError("the present certificate is not from this authority") from error


def serial_number(certificate: str) -> int:
    """Serial number of a certificate in PEM: what a revocation list names.

    Raises:
        ContractError: no certificate.
    """
    return _certificate(certificate).serial_number


def certified_key(certificate: str) -> bytes:
    """The public key that a certificate in PEM is for, DER (SubjectPublicKeyInfo).

    Raises:
        ContractError: no certificate.
    """
    key = _certificate(certificate).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key(csr: str) -> bytes:
    """The requested public key, DER (SubjectPublicKeyInfo): two requests with it come from one device.

    Raises:
        ContractError: no request for a P-256 key.
        TrustError: the requester did not prove that it holds the key.
    """
    return _requested_key(csr).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    hint = "The agent makes P-256 keys; use its `enrol` command."
    if len(csr) > MAX_REQUEST:
        raise ContractError("the certificate request is too large", hint=hint)
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        proven = request.is_signature_valid
    # what the parser raises depends on where a hostile request breaks it
    except Exception as error:
        raise ContractError("no certificate request", hint=hint) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ContractError("the certificate request is not for a P-256 key", hint=hint)
    if not proven:
        raise TrustError("the certificate request is not signed by its own key")
    return key


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise ContractError("no certificate") from error


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise ContractError("the certificate has not one common name")
    return str(names[0].value)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
