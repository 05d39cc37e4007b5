"""Which signed documents a device may act on.

python-tuf proves signatures, thresholds, freshness and consistency; what this client adds is numbered in
`refresh`, `desired`, `release` and `admit`. Synchronous, for one process and one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Role, Root, TargetFile, Targets

from shared.bundle import FleetDesired, Release, Runtime, Variant, decode_desired, decode_release
from shared.clock import Clock
from shared.errors import TransportError, TrustError
from shared.ids import check_name
from shared.trust import admission
from shared.trust.marks import ROOT, Marks, key_set
from shared.trust.names import ISSUED, RELEASES, desired_path, fleet_role, manifest_path
from shared.trust.roots import model_keys, trusted_root
from shared.trust.session import Session, as_our_errors
from shared.trust.store import MarkStore

if TYPE_CHECKING:
    from shared.trust.source import MetadataSource

MAX_DOCUMENT = 4 << 20
"""Bytes of a manifest or desired state; a manifest of 10,000 chunks is under 1 MiB."""


class TrustClient:
    """The agent's and the auditor's view of one tenant's repository."""

    def __init__(self, directory: Path, *, root: bytes, source: MetadataSource, clock: Clock) -> None:
        """Open the client's state under `directory`, which only this client writes.

        Args:
            directory: cache of verified metadata, and the high-water marks.
            root: root metadata that the device got when it enrolled; all trust starts there.
            source: where files come from; untrusted.
            clock: judges expiry, with the last signed issue time as its floor.

        Raises:
            TrustError: the high-water marks are damaged.
        """
        self._cache = directory / "metadata"
        self._root = root
        self._source = source
        self._clock = clock
        self._store = MarkStore(directory)
        self._marks = self._store.load()
        self._session: Session | None = None

    @property
    def marks(self) -> Marks:
        """What this device has accepted so far."""
        return self._marks

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date; after an error nothing can be read.

        Raises:
            Expired: metadata is past its date.
            TrustError: a proof failed, or an older version than one accepted before was served.
            TransportError: files are missing at the source.
            FaultError: the disk failed.
        """
        self._session = None
        with as_our_errors():
            # (1) python-tuf: chain of roots, signatures, expiry, versions against its own cache
            session = Session(self._cache, root=self._root, source=self._source, now=self._now)
            session.refresh()
        # (2) versions against our marks, which survive the loss of that cache
        # (3) and the marks on disk before anything acts on the new metadata
        self._keep(_raise_top_level(self._marks, session))
        self._session = session

    def desired(self, fleet: str) -> FleetDesired:
        """What the signers want `fleet` to run.

        Raises:
            TrustError, TransportError, FaultError: as for `refresh`.
            ContractError: signed, but not a desired state.
        """
        check_name(fleet, kind="fleet id")
        _, data = self._read(desired_path(fleet), role=fleet_role(fleet))
        document = decode_desired(data)
        # (4) a fleet's key says something about that fleet only
        if document.fleet != fleet:
            raise TrustError(f"the desired state signed for fleet {fleet} is about fleet {document.fleet[:80]!r}")
        return document

    def release(self, release: str) -> Release:
        """The manifest of `release`, held against what was signed of each of its variants.

        Raises:
            TrustError, TransportError, FaultError: as for `refresh`.
            ContractError: signed, but not a manifest.
        """
        check_name(release, kind="release id")
        role, data = self._read(manifest_path(release), role=RELEASES)
        document = decode_release(data)
        # (5) one release under one name, and (6) each variant signed twice with the same words
        if document.id != release:
            raise TrustError(f"the manifest signed for {release} is about {document.id[:80]!r}")
        admission.check_variants(document, role.targets)
        return document

    def admit(self, release: Release, *, hardware: Collection[str], runtimes: Collection[Runtime]) -> Variant:
        """Choose the variant this device should download, or refuse; `release` comes from `self.release`.

        Args:
            release: proven manifest.
            hardware: facts of this device, e.g. `cpu`, `sm87`.
            runtimes: what this device can execute.

        Raises:
            TrustError: an older release than one that ran here, or nothing for this device.
        """
        return admission.admit(
            release, marks=self._marks, hardware=hardware, runtimes=runtimes, model_keys=self.model_keys()
        )

    def model_keys(self) -> dict[str, str]:
        """Key id → PEM of the keys that must vouch for a model's bytes, from the newest root accepted here.

        It needs no connection: a slot is proven at every start, and a start must not wait for the broker.

        Raises:
            TrustError: the chain of roots in the cache ends before a root that was accepted.
            FaultError: the disk failed.
        """
        if self._session is not None:
            return model_keys(self._session.root)
        return model_keys(trusted_root(self._cache, first=self._root, least=self._marks.version(ROOT, keys="any")))

    def remember(self, release: Release) -> None:
        """Raise the counter mark of its model line, durably; call it before `release` first serves.

        Raises:
            TrustError: it is older than one that ran here.
            FaultError: the disk failed.
        """
        self._keep(self._marks.raise_release(release))

    def _read(self, path: str, *, role: str) -> tuple[Targets, bytes]:
        session = self._session
        if session is None:
            raise TrustError("there is no fresh signed metadata", hint="Refresh first.")
        with as_our_errors():
            metadata = session.delegated(role, path)
        # only the role that the path belongs to may name the file; targets signs delegations and nothing else
        if session.targets.targets:
            raise TrustError("the targets role names files itself, which only its delegations may")
        target = metadata.targets.get(path) if metadata else None
        if metadata is None or target is None:
            raise TrustError(f"{path} is not signed by the role {role}")
        self._keep(_raise_role(self._marks, role, session.targets.get_delegated_role(role), metadata.version))
        return metadata, self._fetch(target)

    def _fetch(self, target: TargetFile) -> bytes:
        if target.length > MAX_DOCUMENT:
            raise TrustError(f"{target.path} of {target.length} bytes is over the limit of {MAX_DOCUMENT}")
        name = f"targets/{target.get_prefixed_paths()[0]}"
        data = self._source.read(name)
        if data is None:
            raise TransportError(f"the source lacks {name}", hint="It comes with the next connection.")
        with as_our_errors():
            target.verify_length_and_hashes(data)  # digest before parsing: parsers see only proven bytes
        return data

    def _keep(self, marks: Marks) -> None:
        if marks is not self._marks:
            self._store.save(marks)
            self._marks = marks

    def _now(self, root: Root) -> float:
        return self._marks.now(self._clock.now(), keys=_keys(root.roles["timestamp"]))


def _raise_top_level(marks: Marks, session: Session) -> Marks:
    root, timestamp = session.root, session.timestamp
    marks = marks.raise_version(ROOT, keys="any", version=root.version)
    marks = _raise_role(marks, "timestamp", root.roles["timestamp"], timestamp.version)
    marks = _raise_role(marks, "snapshot", root.roles["snapshot"], session.snapshot_version)
    marks = _raise_role(marks, "targets", root.roles["targets"], session.targets.version)
    issued = timestamp.unrecognized_fields.get(ISSUED)
    if type(issued) is not int or not 0 <= issued <= timestamp.expires.timestamp():
        raise TrustError(f"the timestamp's issue time {str(issued)[:40]!r} is none")
    return marks.raise_issued(keys=_keys(root.roles["timestamp"]), at=issued)


def _raise_role(marks: Marks, name: str, role: Role, version: int) -> Marks:
    return marks.raise_version(name, keys=_keys(role), version=version)


def _keys(role: Role) -> str:
    return key_set(role.keyids, role.threshold)
