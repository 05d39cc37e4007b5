"""Whose key signs certificates and revocation lists: a sealed file's, behind the same port as a Vault's.

What may stand in a certificate is decided before, in `cloud.devices.authority`, and proven after.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from cloud.devices.profiles import BACKDATED, authority, leaf, revocations
from cloud.release.sealed import Sealer
from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError, RefusedError

E = TypeVar("E", bound=x509.ExtensionType)

_PURPOSE = "authority key"


class Leaf(NamedTuple):
    """What to certify."""

    name: str
    """The whole subject."""

    request: x509.CertificateSigningRequest
    """For the key and the proof of it, and for nothing else."""

    key: ec.EllipticCurvePublicKey
    """Of the request."""

    usage: ObjectIdentifier
    """Client or server authentication."""

    lifetime: float
    """Seconds."""

    hosts: tuple[str, ...] = ()
    """DNS names and IP addresses of a server."""

    ours: bool = False
    """One of our own servers, or a device."""


class Issuer(Protocol):
    """Signs certificates and revocation lists; `tests/contract/test_authority.py` runs against each."""

    @property
    def certificate(self) -> x509.Certificate:
        """The authority's own."""
        ...

    def certify(self, wanted: Leaf, *, at: float) -> x509.Certificate:
        """A certificate for `wanted`.

        Raises:
            TransportError: the server with the key does not answer.
            RefusedError: it does not do that for us.
        """
        ...

    def revoke(
        self, revoked: Mapping[int, float], *, at: float, lifetime: float, number: int
    ) -> x509.CertificateRevocationList:
        """A revocation list; arguments as for `Authority.revocation_list`, errors as for `certify`."""
        ...


class FileIssuer:
    """An authority whose key lies sealed on disk."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Use `open` or `create`."""
        self._certificate = certificate
        self._key = key

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a complete authority."""
        return (directory / "ca.crt").is_file()

    @classmethod
    def create(cls, directory: Path, *, name: str, sealer: Sealer, at: float) -> FileIssuer:
        """See `Authority.create`."""
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
    def open(cls, directory: Path, *, sealer: Sealer) -> FileIssuer:
        """See `Authority.open`."""
        sealed, pem = read_if_present(directory / "ca.key"), read_if_present(directory / "ca.crt")
        if sealed is None or pem is None:
            raise FaultError(f"{directory} holds no authority", hint="Create it, or restore it from a backup.")
        key = serialization.load_der_private_key(sealer.unseal(sealed, purpose=_PURPOSE), password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise FaultError(f"key and certificate in {directory} differ", hint="Restore both from one backup.")
        return cls(certificate, key)

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    def certify(self, wanted: Leaf, *, at: float) -> x509.Certificate:
        profile = leaf(
            wanted.name,
            wanted.key,
            usage=wanted.usage,
            issuer=self._certificate,
            at=at,
            lifetime=wanted.lifetime,
            hosts=wanted.hosts,
        )
        return profile.sign(self._key, hashes.SHA256())

    def revoke(
        self, revoked: Mapping[int, float], *, at: float, lifetime: float, number: int
    ) -> x509.CertificateRevocationList:
        profile = revocations(revoked, issuer=self._certificate, at=at, lifetime=lifetime, number=number)
        return profile.sign(self._key, hashes.SHA256())


def differences(issued: x509.Certificate, wanted: Leaf) -> list[str]:
    """In what a certificate is not the one that was asked for; it may end earlier."""
    usage, basic = _said(issued, x509.ExtendedKeyUsage), _said(issued, x509.BasicConstraints)
    names = _said(issued, x509.SubjectAlternativeName)
    life = (issued.not_valid_after_utc - issued.not_valid_before_utc).total_seconds()
    right = {
        "subject": issued.subject == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.name)]),
        "key": issued.public_key() == wanted.key,
        "usage": usage is not None and list(usage) == [wanted.usage],
        "rank": basic is not None and not basic.ca,
        "host": {str(name.value) for name in names or ()} == set(wanted.hosts),
        "life": life <= wanted.lifetime + 2 * BACKDATED,
    }
    return [what for what, is_right in right.items() if not is_right]


def _said(issued: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return issued.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
