"""Is a slot on disk exactly what was staged into it?

A slot is a directory of three regular files and nothing else: the variant under its own name, the release's
`manifest.json`, and `slot.json`, written last. The check finds altered, added, removed and linked files, and
bit rot. Somebody who may write the slot may also write all three files to agree with each other: against that
stands the signature of a model key, which the manifest carries and the trusted root pins (`shared.trust.modelsig`).

The bytes of a variant are hashed once on their way onto the disk and once on their way into service. As chunks
arrive, each is proven; `inspect_slot` proves everything about a slot but those bytes; `read_proven` reads them
from a file that is the slot's own and gives them out only if they are the ones that the manifest, and so its model
signature, names: what is loaded is what was hashed. `verify_slot` does both at once, where nothing is loaded.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from shared.bundle import Release, Variant, decode_release, digest_of, encode
from shared.durable import sync_directory, sync_file, write_atomic
from shared.errors import ContractError, FaultError, TrustError
from shared.hashing import read_hashed
from shared.ids import sha256
from shared.trust.modelsig import check_variant
from shared.trust.names import MANIFEST

SEAL = "slot.json"
FORMAT = 1

MAX_JSON = 4 << 20
"""Bytes of `slot.json` or `manifest.json` that are read."""

_PIECE = 1 << 20  # bytes hashed at a time: memory stays flat for a variant of gigabytes

_OURS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # says nothing about the file

NO_KEYS: Mapping[str, str] = MappingProxyType({})
"""What the root of a repository from before model signatures names."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `slot.json`."""

    release: str
    variant: str
    digest: str
    size: int
    manifest: str
    """Digest of `manifest.json`."""

    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFact:
    """A slot that was just found whole."""

    release: Release
    variant: Variant
    path: Path
    """The variant's file."""


def seal_slot(
    directory: Path, *, release: Release, variant: Variant, keys: Mapping[str, str] = NO_KEYS, digest: str = ""
) -> SlotFact:
    """Close a slot whose only file is the downloaded variant, and check it as it lies on disk.

    Args:
        directory: the slot.
        release: proven manifest.
        variant: which of its files lies there.
        keys: the model keys of the trusted root.
        digest: of the file, where every chunk was proven before it was written; read back and hashed here when empty.

    Raises:
        TrustError: the file is not the variant or lies not alone, or no model key vouches for it.
        FaultError: the disk failed.
    """
    seal = Seal(
        release=release.id,
        variant=variant.name,
        digest=variant.digest,
        size=variant.size,
        manifest=digest_of(release),
    )
    try:
        sync_file(directory / variant.name)
        sync_directory(directory)
    except FileNotFoundError as error:
        raise TrustError(f"{variant.name} is missing in {directory.name}") from error
    except OSError as error:
        raise FaultError(f"{directory} could not be sealed: {error.strerror}", hint="Check the disk.") from error
    write_atomic(directory / MANIFEST, encode(release))
    write_atomic(directory / SEAL, _encode_seal(seal))
    fact = inspect_slot(directory, keys=keys)
    _compare(fact, digest or file_digest(fact.path, size=variant.size))
    return fact


def verify_slot(directory: Path, *, keys: Mapping[str, str] = NO_KEYS) -> SlotFact:
    """Prove a slot, the variant's bytes included; `keys` are the model keys of the trusted root.

    Raises:
        TrustError: no slot, not sealed, or not what was sealed; the reason names the file.
        FaultError: the disk cannot be read.
    """
    fact = inspect_slot(directory, keys=keys)
    _compare(fact, file_digest(fact.path, size=fact.variant.size))
    return fact


def inspect_slot(directory: Path, *, keys: Mapping[str, str] = NO_KEYS) -> SlotFact:
    """Prove everything about a slot but the variant's bytes, which `read_proven` proves as they are loaded.

    Raises:
        TrustError: no slot, not sealed, or not what was sealed; the reason names the file.
        FaultError: the disk cannot be read.
    """
    names = _names(directory)
    # (1) the seal and the manifest, each whole
    if SEAL not in names:
        raise TrustError(f"slot {directory.name} is not sealed")
    seal = _decode_seal(_small(directory / SEAL), directory.name)
    manifest = _small(directory / MANIFEST) if MANIFEST in names else b""
    if sha256(manifest) != seal.manifest:
        raise TrustError(f"slot {directory.name}: {MANIFEST} is missing or altered")
    release, variant = _named(manifest, seal)
    # (2) nothing is missing, nothing was added
    if names != {SEAL, MANIFEST, variant.name}:
        odd = sorted(names ^ {SEAL, MANIFEST, variant.name})
        raise TrustError(f"slot {directory.name}: added or removed: {', '.join(name[:80] for name in odd)}")
    # (3) a model key vouches for these very bytes in this release
    check_variant(release, variant, keys=keys)
    # (4) a file of the slot's own, as long as it should be
    path = directory / variant.name
    os.close(_open_sized(path, variant.size))
    return SlotFact(release=release, variant=variant, path=path)


def read_proven(path: Path, variant: Variant) -> bytes:
    """The bytes of `variant` from a file that is nobody else's; proven, and in memory that no one else writes.

    Raises:
        TrustError: another file, a link, or other bytes.
        FaultError: the disk cannot be read.
    """
    try:
        with os.fdopen(_open_sized(path, variant.size), "rb", buffering=0) as file:
            data, digest = read_hashed(file, variant.size)
    except OSError as error:
        raise FaultError(f"{path} could not be read: {error.strerror}") from error
    except MemoryError as error:
        raise FaultError(f"{path.name} of {variant.size >> 20} MiB does not fit into memory") from error
    if (len(data), digest) != (variant.size, variant.digest):
        raise TrustError(f"{path.name} was altered: it is not the {variant.name} that was signed")
    return data


def file_digest(path: Path, *, size: int) -> str:
    """SHA-256 of a file that is nobody else's, read piece by piece.

    Raises:
        TrustError: it is no regular file of `size` bytes, or a link.
        FaultError: the disk cannot be read.
    """
    with os.fdopen(_open_sized(path, size), "rb") as file:
        total = hashlib.sha256()
        try:
            while piece := file.read(_PIECE):
                total.update(piece)
        except OSError as error:
            raise FaultError(f"{path} could not be read: {error.strerror}") from error
    return total.hexdigest()


def _compare(fact: SlotFact, digest: str) -> None:
    if digest != fact.variant.digest:
        raise TrustError(f"slot {fact.path.parent.name}: {fact.variant.name} was altered")


def _names(directory: Path) -> set[str]:
    if directory.is_symlink() or not directory.is_dir():
        raise TrustError(f"slot {directory.name} is no directory")
    try:
        return {entry.name for entry in directory.iterdir()}
    except OSError as error:
        raise FaultError(f"{directory} could not be read: {error.strerror}") from error


def _decode_seal(data: bytes, slot: str) -> Seal:
    try:
        seal = msgspec.json.decode(data, type=Seal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(f"slot {slot}: {SEAL} is damaged: {error}") from error
    if seal.format != FORMAT or _encode_seal(seal) != data:
        raise TrustError(f"slot {slot}: {SEAL} was altered")  # a decoder forgives what a seal must not
    return seal


def _encode_seal(seal: Seal) -> bytes:
    return msgspec.json.encode(seal, order="sorted")


def _named(manifest: bytes, seal: Seal) -> tuple[Release, Variant]:
    try:
        release = decode_release(manifest)
    except ContractError as error:
        raise TrustError(f"{MANIFEST} is damaged: {error}") from error
    for variant in release.variants:
        if (release.id, variant.name, variant.digest, variant.size) == (
            seal.release,
            seal.variant,
            seal.digest,
            seal.size,
        ):
            return release, variant
    raise TrustError(f"{SEAL} names no variant of {MANIFEST}")


def _small(path: Path) -> bytes:
    descriptor = _open(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_JSON)


def _open_sized(path: Path, size: int) -> int:
    descriptor = _open(path)
    if os.fstat(descriptor).st_size != size:
        os.close(descriptor)
        raise TrustError(f"{path.name} has not its {size} bytes")
    return descriptor


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _OURS:
            raise FaultError(f"{path} could not be opened: {error.strerror}", hint="Check the disk.") from error
        raise TrustError(f"{path.name} is no regular file of its slot: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise TrustError(f"{path.name} is no regular file of its slot alone")
    return descriptor
