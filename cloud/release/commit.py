"""Sign what changed and write it: roles, then snapshot, then timestamp, whose rename is the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tuf.api.metadata import Metadata, MetaFile, Root, T, Targets

from cloud.release.draft import Draft
from cloud.release.files import TIMESTAMP_FILE, RepositoryFiles, metadata_name
from cloud.release.generations import key_names
from cloud.release.heads import Heads
from cloud.release.keys import KeyRing
from cloud.release.roles import ROOT, SNAPSHOT, TIMESTAMP, expiry
from shared.errors import RefusedError
from shared.trust.names import ISSUED

Stamp = Callable[[], Mapping[str, Any]]
"""Further fields of each timestamp, as they are when it is signed."""


class Committer:
    """Signs with a key ring and writes into a repository's files, or into a draft of them."""

    def __init__(self, files: RepositoryFiles | Draft, keys: KeyRing, *, stamp: Stamp = dict) -> None:
        self._files = files
        self._keys = keys
        self._stamp = stamp

    def can_sign(self, role: str, *, by: Root | Targets) -> bool:
        """Whether enough of the keys are here that `by` lets sign `role`."""
        return sum(map(self._keys.holds, key_names(by, role))) >= by.get_delegated_role(role).threshold

    def root(self, root: Metadata[Root], *, before: Root | None = None, at: float) -> None:
        """Sign and write the next version of the root; devices follow the chain by themselves.

        Args:
            root: altered in memory.
            before: the root in force, if its keys are others: its threshold must agree too.
            at: Unix seconds.

        Raises:
            RefusedError: too few keys are here.
        """
        data = self._sign(root, ROOT, by=[*([before] if before else []), root.signed], at=at)
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
            data = self._sign(metadata, role, by=[heads.delegator(role)], at=at)
            self._files.write(metadata_name(role, metadata.signed.version), data)
            heads.snapshot.signed.meta[f"{role}.json"] = _described(metadata.signed.version, data)
        snapshot = self._sign(heads.snapshot, SNAPSHOT, by=[heads.root.signed], at=at)
        self._files.write(metadata_name(SNAPSHOT, heads.snapshot.signed.version), snapshot)
        heads.timestamp.signed.snapshot_meta = _described(heads.snapshot.signed.version, snapshot)
        self.timestamp(heads, at=at)

    def timestamp(self, heads: Heads, *, at: float) -> None:
        """Commit a fresh timestamp over the present snapshot."""
        fields = heads.timestamp.signed.unrecognized_fields
        # a coordinator whose clock is set back must not sign an earlier time than before
        fields[ISSUED] = max(int(at), int(fields.get(ISSUED, 0)))
        fields.update(self._stamp())
        self._files.write(TIMESTAMP_FILE, self._sign(heads.timestamp, TIMESTAMP, by=[heads.root.signed], at=at))

    def _sign(self, metadata: Metadata[T], role: str, *, by: Sequence[Root | Targets], at: float) -> bytes:
        if metadata.signatures:
            metadata.signed.version += 1  # without signatures it is the first version
        metadata.signed.expires = expiry(role, at=at)
        metadata.signatures.clear()
        for name in self._signing(role, by):
            # as `Metadata.sign` does, which would wrap what a ring says (sealed, away) into an error of its own
            signature = self._keys.signer(name).sign(metadata.signed_bytes)
            metadata.signatures[signature.keyid] = signature
        # a key ring of another repository signs well-formed metadata that no device accepts: find out first
        for one in by:
            if not one.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified:
                raise RefusedError(
                    f"the keys here are not the ones that may sign {role}", hint="Use the key store of this repository."
                )
        return metadata.to_bytes()

    def _signing(self, role: str, by: Sequence[Root | Targets]) -> list[str]:
        """As few keys as each of `by` asks for; keys that all of them know come first, then those that are here."""
        known = [key_names(one, role) for one in by]
        chosen: dict[str, None] = {}
        for one, names in zip(by, known, strict=True):
            order = sorted(names, key=lambda name: (not self._keys.holds(name), not all(name in k for k in known)))
            chosen |= dict.fromkeys(order[: one.get_delegated_role(role).threshold])
        return list(chosen)


def _described(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])
