"""Signing keys behind one port; where they live decides who can steal them.

`FileKeys` keeps them sealed in files, `MemoryKeys` is its twin for tests and simulations;
`tests/contract/test_release_keys.py` runs against both.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, Signer

from cloud.release.sealed import Sealer
from shared.durable import read_if_present, write_atomic
from shared.errors import RefusedError
from shared.ids import check_name


class KeyKind(StrEnum):
    """Which kind of key a ring should make."""

    ED25519 = "ed25519"
    """For TUF's roles."""

    P256 = "p256"
    """ECDSA with SHA-256 (FIPS 186-5): what OpenSSF Model Signing and most tokens know."""


class KeyRing(Protocol):
    """Named signing keys; private parts never leave it."""

    def holds(self, name: str) -> bool:
        """Whether it can sign with `name` now; an offline key may be away."""
        ...

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        """The public part of `name`, made first, as a key of `kind`, if there is no such key."""
        ...

    def signer(self, name: str) -> Signer:
        """Signs with `name`.

        Raises:
            RefusedError: the key is not there, or the passphrase is wrong.
        """
        ...


class MemoryKeys:
    """Keys that die with the process."""

    def __init__(self) -> None:
        self._signers: dict[str, Signer] = {}

    def holds(self, name: str) -> bool:
        return name in self._signers

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        if name not in self._signers:
            self._signers[check_name(name, kind="key name")] = CryptoSigner(_generate(kind))
        return self._signers[name].public_key

    def signer(self, name: str) -> Signer:
        if name not in self._signers:
            raise _away(name)
        return self._signers[name]

    def remove(self, name: str) -> None:
        """Take a key away, as one does with an offline key after use."""
        self._signers.pop(name, None)


class FileKeys:
    """Keys in one sealed file each; offline ones in a folder of their own that can be carried away."""

    OFFLINE = "offline"

    def __init__(self, directory: Path, *, sealer: Sealer) -> None:
        """Use `<name>.key` and `offline/<name>.key` in `directory`; `sealer` opens every file."""
        self._directory = directory
        self._sealer = sealer
        self._online: dict[str, Signer] = {}

    def holds(self, name: str) -> bool:
        return any(path.is_file() for path in self._places(name))

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        if not self.holds(check_name(name, kind="key name")):
            self._make(name, offline=offline, kind=kind)
        return self.signer(name).public_key

    def signer(self, name: str) -> Signer:
        if name in self._online:
            return self._online[name]
        online, offline = self._places(name)
        data = read_if_present(online)
        if data is not None:
            self._online[name] = self._open(data, name)
            return self._online[name]
        data = read_if_present(offline)
        if data is None:
            raise _away(name)
        return self._open(data, name)  # kept in memory only while it signs

    def _places(self, name: str) -> tuple[Path, Path]:
        file = f"{name}.key"
        return self._directory / file, self._directory / self.OFFLINE / file

    def _make(self, name: str, *, offline: bool, kind: KeyKind) -> None:
        secret = _generate(kind).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        data = self._sealer.seal(secret, purpose=_purpose(name))
        write_atomic(self._places(name)[offline], data, mode=0o600)

    def _open(self, data: bytes, name: str) -> Signer:
        secret = self._sealer.unseal(data, purpose=_purpose(name))
        key = serialization.load_der_private_key(secret, password=None)
        if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise RefusedError(f"the key {name} is neither an Ed25519 nor a P-256 key")
        return CryptoSigner(key)


def _generate(kind: KeyKind) -> Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1()) if kind is KeyKind.P256 else Ed25519PrivateKey.generate()


def _purpose(name: str) -> str:
    return f"signing key {name}"


def _away(name: str) -> RefusedError:
    return RefusedError(
        f"the signing key {name} is not here",
        hint="Bring the key file back into the key store (offline keys lie in its folder `offline`).",
    )
