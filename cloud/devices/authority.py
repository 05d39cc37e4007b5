"""The certificate authority of one installation: who is who on the broker and the API.

From a device's request only the public key is taken, and the proof that the requester holds its private half;
everything else is said by `cloud.devices.profiles`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cloud.devices.issuers import FileIssuer, Issuer, Leaf, differences
from cloud.devices.profiles import DAY
from cloud.release.sealed import Sealer
from shared.clock import utc
from shared.enrolment import RenewRequest, RescueRequest, renewal_statement, rescue_statement
from shared.errors import ContractError, RefusedError, TrustError
from shared.ids import RESERVED, DeviceId, device_id, is_reserved, sha256

DEVICE_LIFETIME = 30 * DAY
"""Renewal begins at half of it: a device may be off for two weeks, or the coordinator away, and nobody loses a session;
a key that was taken without anybody noticing opens doors for a month at most, unless the thief renews, and that shows.
"""

SERVER_LIFETIME = 90 * DAY
REVOCATION_LIFETIME = 7 * DAY

MAX_REQUEST = 16 << 10
"""Bytes of a certificate request; one for P-256 has about 400."""

_FOREIGN = "Compare the roles of the PKI mount with docs/operators.md; nothing of it was handed out."


class Credentials(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """Decides what is certified, has an issuer sign it, and proves what came back."""

    def __init__(self, issuer: Issuer) -> None:
        """`open` and `create` make one whose key is a sealed file."""
        self._issuer = issuer
        self._certificate = issuer.certificate

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a complete authority."""
        return FileIssuer.exists(directory)

    @classmethod
    def create(cls, directory: Path, *, name: str, sealer: Sealer, at: float) -> Authority:
        """Make an authority; its certificate is written last and decides whether there is one.

        Raises:
            RefusedError: there is one already.
        """
        return cls(FileIssuer.create(directory, name=name, sealer=sealer, at=at))

    @classmethod
    def open(cls, directory: Path, *, sealer: Sealer) -> Authority:
        """Open an authority.

        Raises:
            RefusedError: the passphrase is wrong.
            FaultError: files are missing or do not belong together.
        """
        return cls(FileIssuer.open(directory, sealer=sealer))

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
        name, key = device_id(device), _requested_key(csr)
        request = x509.load_pem_x509_csr(csr.encode())
        return _pem(self._issue(Leaf(name, request, key, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime), at=at))

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
        listed = self._issuer.revoke(revoked, at=at, lifetime=lifetime, number=number)
        signer = self._certificate.public_key()
        ours = isinstance(signer, ec.EllipticCurvePublicKey) and listed.is_signature_valid(signer)
        if not ours or {entry.serial_number for entry in listed} != set(revoked):
            raise TrustError("the revocation list that came back is not the one asked for", hint=_FOREIGN)
        return listed.public_bytes(serialization.Encoding.PEM).decode()

    def _service(
        self, name: str, usage: ObjectIdentifier, *, hosts: list[str], at: float, lifetime: float
    ) -> Credentials:
        if not is_reserved(name):
            raise RefusedError(f"{name!r} is no name of our servers", hint=f"Use one of {', '.join(sorted(RESERVED))}.")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        wanted = Leaf(name, request, key.public_key(), usage, lifetime, tuple(hosts), ours=True)
        issued = self._issue(wanted, at=at)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credentials(_pem(issued), private.decode())

    def _issue(self, wanted: Leaf, *, at: float) -> x509.Certificate:
        issued = self._issuer.certify(wanted, at=at)
        self._prove_ours(issued)
        wrong = differences(issued, wanted)
        if wrong:
            raise TrustError(f"what came back for {wanted.name} has another {', '.join(wrong)}", hint=_FOREIGN)
        return issued

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
