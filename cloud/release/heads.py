"""The current metadata of every role, read from disk and proven before anything is signed on top of it.

Signing again what lies on disk would launder whatever somebody wrote there, so the coordinator verifies its
own repository each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from cloud.release.files import TIMESTAMP_FILE, RepositoryFiles, metadata_name
from cloud.release.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from shared.errors import TrustError


@dataclass(slots=True, kw_only=True)
class Heads:
    """Newest committed metadata; made for one operation, altered by it, then thrown away."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    delegated: dict[str, Metadata[Targets]]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def target_roles(self) -> dict[str, Metadata[Targets]]:
        """Top-level and delegated targets roles by name."""
        return {TARGETS: self.targets, **self.delegated}

    def all(self) -> dict[str, Metadata[Any]]:
        """Every role by name."""
        top: dict[str, Metadata[Any]] = {ROOT: self.root, SNAPSHOT: self.snapshot, TIMESTAMP: self.timestamp}
        return {**top, **self.target_roles()}

    def delegator(self, role: str) -> Root | Targets:
        """Who names the keys of `role`."""
        return self.targets.signed if role in self.delegated else self.root.signed

    def version(self, role: str) -> int:
        """Committed version of a role that the snapshot lists."""
        return int(self.snapshot.signed.meta[f"{role}.json"].version)


def read_heads(files: RepositoryFiles) -> Heads:
    """Follow the timestamp to all current metadata, proving each signature and hash.

    Raises:
        TrustError: a file was altered.
        FaultError: a file is missing.
    """
    try:
        return _read(files)
    except (RepositoryError, ValueError, KeyError) as error:
        raise TrustError(
            f"the release repository was altered on disk: {error}", hint="Restore its directory from a backup."
        ) from error


def newest_root(files: RepositoryFiles) -> int:
    """Version of the newest root."""
    version = 1
    while files.read(metadata_name(ROOT, version + 1)) is not None:
        version += 1
    return version


def _read(files: RepositoryFiles) -> Heads:
    root = _root(files)
    timestamp = Metadata[Timestamp].from_bytes(files.need(TIMESTAMP_FILE))
    root.signed.verify_delegate(TIMESTAMP, timestamp.signed_bytes, timestamp.signatures)
    meta = timestamp.signed.snapshot_meta
    data = files.need(metadata_name(SNAPSHOT, meta.version))
    meta.verify_length_and_hashes(data)
    snapshot = Metadata[Snapshot].from_bytes(data)
    root.signed.verify_delegate(SNAPSHOT, snapshot.signed_bytes, snapshot.signatures)
    targets = _targets(files, snapshot.signed, TARGETS, root.signed)
    delegations = targets.signed.delegations
    roles = list(delegations.roles or {}) if delegations else []
    return Heads(
        root=root,
        targets=targets,
        delegated={role: _targets(files, snapshot.signed, role, targets.signed) for role in roles},
        snapshot=snapshot,
        timestamp=timestamp,
    )


def _root(files: RepositoryFiles) -> Metadata[Root]:
    root = Metadata[Root].from_bytes(files.need(metadata_name(ROOT, 1)))
    root.signed.verify_delegate(ROOT, root.signed_bytes, root.signatures)
    for version in range(2, newest_root(files) + 1):
        following = Metadata[Root].from_bytes(files.need(metadata_name(ROOT, version)))
        root.signed.verify_delegate(ROOT, following.signed_bytes, following.signatures)
        following.signed.verify_delegate(ROOT, following.signed_bytes, following.signatures)
        root = following
    return root


def _targets(files: RepositoryFiles, snapshot: Snapshot, role: str, delegator: Root | Targets) -> Metadata[Targets]:
    meta = snapshot.meta[f"{role}.json"]
    data = files.need(metadata_name(role, meta.version))
    meta.verify_length_and_hashes(data)
    metadata = Metadata[Targets].from_bytes(data)
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    return metadata
