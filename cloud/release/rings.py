"""One key ring made of several: the role of a key says in which of them it lives."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from securesystemslib.signer import Key, Signer

from cloud.release.generations import FLEET_PREFIX, split
from cloud.release.keys import KeyKind, KeyRing
from cloud.release.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from shared.ids import check_name
from shared.trust.names import RELEASES


class Ring(StrEnum):
    """Where keys can live."""

    FILE = "file"
    """Sealed, in the coordinator's directory."""

    VAULT = "vault"
    """In the transit engine of a Vault or OpenBao server."""

    PKCS11 = "pkcs11"
    """On a smart card, a security key, an HSM."""


FLEETS = "fleets"
MODELS = "models"

GROUPS = (ROOT, TARGETS, RELEASES, FLEETS, SNAPSHOT, TIMESTAMP, MODELS)
"""What can have a ring of its own."""

_MODEL_STEMS = ("model-signing", "attestor")


def group(name: str) -> str:
    """To which of `GROUPS` a key belongs, by its name: every generation of it to the same one."""
    stem, _ = split(check_name(name, kind="key name"))
    if stem.startswith(FLEET_PREFIX):
        return FLEETS
    return MODELS if stem in _MODEL_STEMS else stem


class KeysByRole:
    """Hands each key to the ring of its role; see `KeyRing`."""

    def __init__(self, rings: Mapping[str, KeyRing], *, default: KeyRing) -> None:
        """`rings` has an entry for each of `GROUPS` that does not live in `default`."""
        self._rings = dict(rings)
        self._default = default

    def holds(self, name: str) -> bool:
        return self.ring(name).holds(name)

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        return self.ring(name).ensure(name, offline=offline, kind=kind)

    def signer(self, name: str) -> Signer:
        return self.ring(name).signer(name)

    def ring(self, name: str) -> KeyRing:
        """Where `name` lives."""
        return self._rings.get(group(name), self._default)
