"""The newest root that this device has accepted, proven anew from the first one and without asking anybody."""

from __future__ import annotations

from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from shared.durable import read_if_present
from shared.errors import TrustError
from shared.trust.names import MODEL_KEYS

HISTORY = "root_history"
"""Where python-tuf keeps each root, as `<version>.root.json`."""


def trusted_root(directory: Path, *, first: bytes, least: int) -> Root:
    """Follow the chain of roots kept under `directory`, as far as it holds.

    Args:
        directory: python-tuf's cache of verified metadata.
        first: root metadata that the device got when it enrolled.
        least: version below which the chain must not end: this device has accepted it before.

    Raises:
        TrustError: it ends before, or its first link is none.
        FaultError: the disk cannot be read.
    """
    root = _first(first)
    while (data := read_if_present(directory / HISTORY / f"{root.version + 1}.root.json")) is not None:
        following = _following(root, data)
        if following is None:
            break
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


def _following(root: Root, data: bytes) -> Root | None:
    """The next root if `root` and the next one itself vouch for it; None for a damaged file."""
    try:
        metadata = Metadata[Root].from_bytes(data)
        for vouching in (root, metadata.signed):
            vouching.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return None
    return metadata.signed if metadata.signed.version == root.version + 1 else None
