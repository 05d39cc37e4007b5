"""Another passphrase for the sealed files: each is rewritten whole, and the passphrase's own file is the last.

Until then both passphrases are needed, and both are at hand: the old one where it always is, the new one in the file
that was given. A file is sealed with one of them at any moment, so whatever interrupts this, it is run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from cloud.release.sealed import Sealer
from shared.durable import write_atomic
from shared.errors import RefusedError


class SealedFile(msgspec.Struct, frozen=True):
    """Where it is, and what it was sealed for."""

    path: Path
    purpose: str


def sealed_files(keys: Path, authority: Path) -> list[SealedFile]:
    """Every sealed file of a coordinator's directory: signing keys, offline ones that are here, and the authority's."""
    found = [
        SealedFile(path, f"signing key {path.stem}") for path in sorted([*keys.glob("*.key"), *keys.glob("*/*.key")])
    ]
    own = authority / "ca.key"
    return [*found, SealedFile(own, "authority key")] if own.exists() else found


def reseal(files: Iterable[SealedFile], *, old: Sealer, new: Sealer) -> list[Path]:
    """Seal `files` with `new`; those that are already are left as they are. Returns the ones that were changed.

    Raises:
        RefusedError: a file opens with neither passphrase; nothing was changed.
        FaultError: the disk failed; run it again.
    """
    # (1) open all before the first is changed, so that a wrong passphrase changes none
    opened = [(file, *_secret(file, old=old, new=new)) for file in files]
    # (2) each in one rename
    changed = []
    for file, secret, done in opened:
        if not done:
            write_atomic(file.path, new.seal(secret, purpose=file.purpose), mode=0o600)
            changed.append(file.path)
    return changed


def _secret(file: SealedFile, *, old: Sealer, new: Sealer) -> tuple[bytes, bool]:
    """What is in a file, and whether the new passphrase opens it already."""
    data = file.path.read_bytes()
    try:
        return new.unseal(data, purpose=file.purpose), True
    except RefusedError:
        return old.unseal(data, purpose=file.purpose), False
