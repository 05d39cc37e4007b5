"""The device's key pair: made here, never sent anywhere."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.durable import read_if_present, write_atomic
from shared.errors import FaultError
from shared.ids import Digest, sha256

KEY_FILE = "device.key"


def ensure_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The device's P-256 key, made on first use and durable before anybody is told its public half.

    Raises:
        FaultError: the key file is damaged, or the disk failed.
    """
    path = directory / KEY_FILE
    data = read_if_present(path)
    if data is None:
        data = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(path, data, mode=0o600)
    return _parse(data, path)


def certificate_request(key: ec.EllipticCurvePrivateKey) -> str:
    """PKCS#10 in PEM with an empty subject: the coordinator decides who this is."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(key: ec.EllipticCurvePrivateKey) -> Digest:
    """SHA-256 of the public key (DER, SubjectPublicKeyInfo): what an operator may bind a token to."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(public)


def sign(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    """ECDSA with SHA-256, DER."""
    return key.sign(statement, ec.ECDSA(hashes.SHA256()))


def _parse(data: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except ValueError as error:
        raise FaultError(f"{path} is damaged", hint="Remove the identity directory and enrol again.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FaultError(f"{path} holds no P-256 key", hint="Remove the identity directory and enrol again.")
    return key
