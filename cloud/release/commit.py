"""Sign what changed and write it: roles, then snapshot, then timestamp, whose rename is the commit."""

from __future__ import annotations

from collections.abc import Iterable

from tuf.api.metadata import Metadata, MetaFile, Root, T, Targets

from cloud.release.files import TIMESTAMP_FILE, RepositoryFiles, metadata_name
from cloud.release.heads import Heads
from cloud.release.keys import KeyRing
from cloud.release.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, expiry, rule
from shared.errors import RefusedError
from shared.trust.names import ISSUED


class Committer:
    """Signs with a key ring and writes into a repository's files."""

    def __init__(self, files: RepositoryFiles, keys: KeyRing) -> None:
        self._files = files
        self._keys = keys

    def can_sign(self, role: str) -> bool:
        """Whether enough of the role's keys are here."""
        return sum(self._keys.holds(name) for name in rule(role).keys) >= rule(role).threshold

    def root(self, root: Metadata[Root], *, at: float) -> None:
        """Sign and write the next version of the root; devices follow the chain by themselves."""
        data = self._sign(root, ROOT, by=root.signed, at=at)
        self._files.write(metadata_name(ROOT, root.signed.version), data)

    def roles(self, heads: Heads, roles: Iterable[str], *, at: float) -> None:
        """Commit new versions of targets roles of `heads`.

        Args:
            heads: altered in memory; small targets that they name are written already.
            roles: which of them changed or need a new date.
            at: Unix seconds.

        Raises:
            RefusedError: a key is not here, or is none that the delegating role names.
            FaultError: the disk failed; the earlier state stays committed.
        """
        for role in roles:
            metadata = heads.target_roles()[role]
            by = heads.root.signed if role == TARGETS else heads.targets.signed
            data = self._sign(metadata, role, by=by, at=at)
            self._files.write(metadata_name(role, metadata.signed.version), data)
            heads.snapshot.signed.meta[f"{role}.json"] = _described(metadata.signed.version, data)
        snapshot = self._sign(heads.snapshot, SNAPSHOT, by=heads.root.signed, at=at)
        self._files.write(metadata_name(SNAPSHOT, heads.snapshot.signed.version), snapshot)
        heads.timestamp.signed.snapshot_meta = _described(heads.snapshot.signed.version, snapshot)
        self.timestamp(heads, at=at)

    def timestamp(self, heads: Heads, *, at: float) -> None:
        """Commit a fresh timestamp over the present snapshot."""
        fields = heads.timestamp.signed.unrecognized_fields
        # a coordinator whose clock is set back must not sign an earlier time than before
        fields[ISSUED] = max(int(at), int(fields.get(ISSUED, 0)))
        self._files.write(TIMESTAMP_FILE, self._sign(heads.timestamp, TIMESTAMP, by=heads.root.signed, at=at))

    def _sign(self, metadata: Metadata[T], role: str, *, by: Root | Targets, at: float) -> bytes:
        if metadata.signatures:
            metadata.signed.version += 1  # without signatures it is the first version
        metadata.signed.expires = expiry(role, at=at)
        metadata.signatures.clear()
        held = [name for name in rule(role).keys if self._keys.holds(name)]
        for name in held[: rule(role).threshold] or rule(role).keys[:1]:
            metadata.sign(self._keys.signer(name), append=True)
        # a key ring of another repository signs well-formed metadata that no device accepts: find out first
        if not by.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified:
            raise RefusedError(
                f"the keys here are not the ones that may sign {role}", hint="Use the key store of this repository."
            )
        return metadata.to_bytes()


def _described(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])
