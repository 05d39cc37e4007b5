"""Signing keys that a Vault or OpenBao server holds: its transit engine makes them, signs, and never gives them out.

One mount belongs to one tenant, so that its policy can name keys without naming what else may be done to them.
A key is pinned to its first version: here another key has another name, and says so in signed metadata.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from cloud.release.keys import KeyKind
from cloud.vault import Vault
from shared.errors import RefusedError, TransportError
from shared.ids import check_name

VERSION = 1
"""Of a key in the engine."""

MAX_PAYLOAD = 16 << 20
"""Bytes to sign with Ed25519, which signs them all; the server takes bodies up to 32 MiB, in base64."""

_TYPES = {KeyKind.ED25519: "ed25519", KeyKind.P256: "ecdsa-p256"}


class VaultKeys:
    """Keys of one transit mount."""

    def __init__(self, vault: Vault, *, mount: str) -> None:
        """Use the engine at `mount`; nothing is asked for yet."""
        self._vault = vault
        self._mount = mount
        self._known: dict[str, SSlibKey] = {}

    def holds(self, name: str) -> bool:
        """As the port says: nothing is here to sign with while the server is sealed or away."""
        try:
            return self._read(name) is not None
        except TransportError:
            return False

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        """As the port says; no key of a server is `offline`, so that is for other rings to decide.

        Raises:
            RefusedError: the key can be taken out of the server, or is of another kind.
            TransportError: the server is sealed or away.
        """
        check_name(name, kind="key name")
        return self._read(name) or self._make(name, kind)

    def signer(self, name: str) -> Signer:
        key = self._known.get(name) or self._read(name)
        if key is None:
            raise RefusedError(
                f"the signing key {name} is not here: {self._vault.url} has none at {self._mount}",
                hint="Correct the mount in the group `vault`, or restore that server from its backup.",
            )
        return VaultSigner(self._vault, mount=self._mount, name=name, key=key)

    def _make(self, name: str, kind: KeyKind) -> SSlibKey:
        self._vault.ask(
            lambda client: client.secrets.transit.create_key(
                name, key_type=_TYPES[kind], exportable=False, allow_plaintext_backup=False, mount_point=self._mount
            ),
            what=f"make the key {name}",
        )
        made = self._read(name)
        if made is None:
            raise TransportError(f"{self._vault.url} does not have the key {name} that it made")
        return made

    def _read(self, name: str) -> SSlibKey | None:
        try:
            found = self._vault.ask(
                lambda client: client.secrets.transit.read_key(name, mount_point=self._mount),
                what=f"read the key {name}",
            )
        except LookupError:
            return None
        self._known[name] = _public(name, found["data"])
        return self._known[name]


class VaultSigner(Signer):
    """Signs with one key of a server."""

    def __init__(self, vault: Vault, *, mount: str, name: str, key: SSlibKey) -> None:
        """`key` is the public part of `name`."""
        self._vault = vault
        self._mount = mount
        self._name = name
        self._key = key

    @property
    def public_key(self) -> SSlibKey:
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Signers come from a key ring here."""
        raise RefusedError("keys of a Vault are opened by their ring, not by an address")

    def sign(self, payload: bytes) -> Signature:
        """Sign `payload`.

        Raises:
            TransportError: the server is sealed or away.
            RefusedError: the policy does not let us sign, or there is too much to sign.
        """
        if len(payload) > MAX_PAYLOAD:
            raise RefusedError(f"{len(payload)} bytes are too many for one signature of a Vault")
        answer = self._vault.ask(
            lambda client: client.secrets.transit.sign_data(
                self._name, key_version=VERSION, mount_point=self._mount, **self._question(payload)
            ),
            what=f"sign with {self._name}",
        )
        box = str(answer["data"]["signature"]).rpartition(":")[2]  # vault:v1:<base64>
        return Signature(self._key.keyid, base64.b64decode(box).hex())

    def _question(self, payload: bytes) -> dict[str, Any]:
        if self._key.scheme == "ed25519":
            return {"hash_input": base64.b64encode(payload).decode()}
        return {
            "hash_input": base64.b64encode(hashlib.sha256(payload).digest()).decode(),
            "hash_algorithm": "sha2-256",
            "prehashed": True,
            "marshaling_algorithm": "asn1",  # DER, as TUF and OpenSSF Model Signing have it
        }


def _public(name: str, found: dict[str, Any]) -> SSlibKey:
    if found.get("exportable") or found.get("allow_plaintext_backup"):
        raise RefusedError(
            f"the key {name} can be taken out of the Vault", hint="Rotate it: a new key is made that cannot."
        )
    text = str(found["keys"].get(str(VERSION), {}).get("public_key", ""))
    try:
        if found["type"] == _TYPES[KeyKind.ED25519]:
            return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(base64.b64decode(text)))
        if found["type"] == _TYPES[KeyKind.P256]:
            return SSlibKey.from_crypto(load_pem_public_key(text.encode()), scheme="ecdsa-sha2-nistp256")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RefusedError(f"the first version of the key {name} is not in the Vault", hint="Restore it.") from error
    raise RefusedError(
        f"the key {name} is of the kind {found['type']}", hint="Use another mount: this key is not ours."
    )
