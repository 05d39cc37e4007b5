"""The newest root that this device has accepted, proven anew from the first one and without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from shared.durable import read_if_present, write_atomic
from shared.errors import TrustError
from shared.trust.names import MODEL_KEYS

HISTORY = "root_history"
"""Where python-tuf keeps each root, as `<version>.root.json`."""


def trusted_root(*places: Path, first: bytes, least: int) -> Root:
    """Follow the chain of roots kept under `places`, as far as it holds in any of them.

    Args:
        places: python-tuf's cache of verified metadata, and a copy of its roots.
        first: root metadata that the device got when it enrolled.
        least: version below which the chain must not end: this device has accepted it before.

    Raises:
        TrustError: it ends before, or its first link is none.
        FaultError: the disk cannot be read.
    """
    root = _first(first)
    while (following := _next(root, places)) is not None:
        root = following
    if root.version < least:
        raise TrustError(
            f"root version {least}, which this device has accepted, is no longer in its cache",
            hint="It comes back with the next connection to the broker.",
        )
    return root


def model_keys(root: Root) -> dict[str, str]:
    """Key id → PEM of the keys that sign models; none in repositories from before model signatures.

    Raises:
        TrustError: the field is there, but is no such table.
    """
    keys = root.unrecognized_fields.get(MODEL_KEYS, {})
    if not isinstance(keys, dict) or not all(isinstance(pem, str) for pem in keys.values()):
        raise TrustError(f"the root's {MODEL_KEYS} are no keys by their ids")
    return dict(keys)


def _first(data: bytes) -> Root:
    try:
        metadata = Metadata[Root].from_bytes(data)
        metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(f"the first root is none: {error}", hint="Enrol this device again.") from error
    return metadata.signed


def keep_copies(cache: Path, copy: Path, *, newest: int) -> None:
    """Have `copy` hold the roots of `cache` up to version `newest`: what a start needs must outlive either.

    Raises:
        FaultError: the disk failed.
    """
    for version in range(2, newest + 1):
        data = read_if_present(_path(cache, version))
        if data is not None and data != read_if_present(_path(copy, version)):
            write_atomic(_path(copy, version), data)


def _path(place: Path, version: int) -> Path:
    return place / HISTORY / f"{version}.root.json"


def _next(root: Root, places: Sequence[Path]) -> Root | None:
    for place in places:
        data = read_if_present(_path(place, root.version + 1))
        following = None if data is None else _following(root, data)
        if following is not None:
            return following
    return None


def _following(root: Root, data: bytes) -> Root | None:
    """The next root if `root` and the next one itself vouch for it; None for a damaged file."""
    try:
        metadata = Metadata[Root].from_bytes(data)
        for vouching in (root, metadata.signed):
            vouching.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return None
    return metadata.signed if metadata.signed.version == root.version + 1 else None
