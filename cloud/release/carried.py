"""A key ring whose offline keys lie elsewhere: on a stick that is there for a ceremony and then is not."""

from __future__ import annotations

from pathlib import Path

from securesystemslib.signer import Key, Signer

from cloud.release.keys import FileKeys, KeyKind, KeyRing
from cloud.release.rings import KeysByRole
from cloud.release.standing import AWAY
from shared.durable import make_directory, read_if_present, sync_directory, write_atomic
from shared.errors import FaultError


class CarriedKeys:
    """The coordinator's key ring, and a directory with the offline keys; see `KeyRing`."""

    def __init__(self, online: KeyRing, offline: FileKeys) -> None:
        self._online = online
        self._offline = offline

    def holds(self, name: str) -> bool:
        return self._offline.holds(name) or self._online.holds(name)

    def ensure(self, name: str, *, offline: bool = False, kind: KeyKind = KeyKind.ED25519) -> Key:
        # a role whose keys live on a token stays there: the stick is for files
        away = self._offline.holds(name) or (offline and isinstance(ring_of(self._online, name), FileKeys))
        if away and not self._online.holds(name):
            return self._offline.ensure(name, kind=kind)
        return self._online.ensure(name, offline=offline, kind=kind)

    def signer(self, name: str) -> Signer:
        return (self._offline if self._offline.holds(name) else self._online).signer(name)

    def ring(self, name: str) -> KeyRing:
        """Where `name` lives when no stick is there."""
        return ring_of(self._online, name)


def ring_of(keys: KeyRing, name: str) -> KeyRing:
    """The ring among several in which `name` lives."""
    return keys.ring(name) if isinstance(keys, KeysByRole | CarriedKeys) else keys


def where(name: str, *, keys: KeyRing, directory: Path, offline: Path | None) -> str:
    """The directory of a key's file, or `vault` or `pkcs11`; `AWAY` when it is not here."""
    for place in filter(None, (offline, directory, directory / FileKeys.OFFLINE)):
        if (place / f"{name}.key").is_file():
            return str(place)
    return type(ring_of(keys, name)).__name__.removesuffix("Keys").lower() if keys.holds(name) else AWAY


def carry_away(directory: Path, offline: Path) -> list[str]:
    """Move the offline keys' files from a key store to `offline`; each is there before it is gone here.

    Raises:
        FaultError: a disk refused; what was not moved is where it was.
    """
    moved, origin = [], directory / FileKeys.OFFLINE
    try:
        make_directory(offline, mode=0o700)
        for path in sorted(origin.glob("*.key")) if origin.resolve() != offline.resolve() else ():
            data = read_if_present(path)
            if data is None:
                continue
            write_atomic(offline / path.name, data, mode=0o600)
            path.unlink()
            sync_directory(origin)
            moved.append(path.stem)
    except OSError as error:
        raise FaultError(f"{offline} does not take keys: {error.strerror}", hint="Check what is mounted.") from error
    return moved
