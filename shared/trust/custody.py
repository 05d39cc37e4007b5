"""python-tuf's workflow with marks that outlive its cache, for any TUF repository.

What Hinterland asks of its own repositories beyond the specification stands in `shared.trust.client`; what stands here
passes the public conformance suite as it is (`make conformance`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Role, Root, TargetFile

from shared.clock import Clock
from shared.errors import TransportError, TrustError
from shared.ids import sha256
from shared.trust.errors import Altered
from shared.trust.marks import ROOT, Marks, key_set
from shared.trust.names import ISSUED
from shared.trust.roots import keep_copies
from shared.trust.session import Session, as_our_errors
from shared.trust.source import Noting
from shared.trust.store import MarkStore

if TYPE_CHECKING:
    from shared.trust.source import MetadataSource

Check = Callable[[Session], None]
"""Refuses top-level metadata that python-tuf has proven, with a `TrustError`."""


def anything(session: Session) -> None:
    """Ask no more of top-level metadata than the specification does."""


class Custody:
    """Verified metadata on disk and in memory, and the marks; synchronous, for one process and thread at a time."""

    def __init__(
        self, directory: Path, *, root: bytes, source: MetadataSource, clock: Clock, check: Check = anything
    ) -> None:
        """Open the state under `directory`, which nobody else writes.

        Args:
            directory: cache of verified metadata, and the high-water marks.
            root: root metadata in which all trust starts.
            source: where files come from; untrusted.
            clock: judges expiry, with the last signed issue time as its floor.
            check: what else top-level metadata must satisfy before it counts.

        Where the high-water marks are damaged it opens all the same, and from then on accepts nothing: what serves on
        a device asks for the keys of its root at each start, and must not stop for what only concerns updates.
        """
        self.cache = directory / "metadata"
        self.copy = directory / "roots"
        self._root = root
        self._source = Noting(source)
        self._clock = clock
        self._check = check
        self._store = MarkStore(directory)
        self._session: Session | None = None
        self.marks = Marks()
        """What has been accepted so far; nothing is known of it where they are damaged."""

        self._damaged: TrustError | None = None
        try:
            self.marks = self._store.load()
        except TrustError as error:
            self._damaged = error

    @property
    def session(self) -> Session | None:
        """Fresh metadata; None before the first refresh and after one that failed."""
        return self._session

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date; after an error nothing can be read.

        Raises:
            Expired: metadata is past its date.
            Altered: a file is not the one that is signed.
            TrustError: the high-water marks are damaged, a proof failed, or an older version than one
                accepted before was served.
            TransportError: files are missing at the source.
            FaultError: the disk failed.
        """
        self._session = None
        self._require_marks()
        with as_our_errors(self._source):
            # (1) python-tuf: chain of roots, signatures, expiry, versions against its own cache
            session = Session(self.cache, root=self._root, source=self._source, now=self._now)
            session.refresh()
        # (2) what the caller asks for beyond that
        self._check(session)
        # (3) versions against our marks, which survive the loss of that cache
        # (4) and the marks on disk before anything acts on the new metadata
        self.keep(_raise_top_level(self.marks, session))
        keep_copies(self.cache, self.copy, newest=session.root.version)
        self._session = session

    def find(self, path: str) -> TargetFile | None:
        """What the delegations say of `path`, each role on the way held against its mark; None when nothing.

        Raises:
            TrustError, TransportError, FaultError: as for `refresh`.
        """
        session = self._session
        if session is None:
            raise TrustError("there is no fresh signed metadata", hint="Refresh first.")
        with as_our_errors(self._source):
            target = session.get_targetinfo(path)
        marks, snapshot = self.marks, session.root.roles["snapshot"]
        for name, role, version in session.delegated():
            marks = _raise_listed(marks, name, role, version, snapshot=snapshot)
        self.keep(marks)
        return target

    def fetch(self, target: TargetFile, *, most: int) -> bytes:
        """The bytes of a target that `find` gave; `most` bounds them.

        Raises:
            Altered: they are others.
            TrustError: they are too many.
            TransportError: the source lacks them.
        """
        if target.length > most:
            raise TrustError(f"{target.path} of {target.length} bytes is over the limit of {most}")
        prefixed = self._session is None or self._session.root.consistent_snapshot
        name = f"targets/{target.get_prefixed_paths()[0] if prefixed else target.path}"
        data = self._source.read(name)
        if data is None:
            raise TransportError(f"the source lacks {name}", hint="It comes with the next connection.")
        try:
            target.verify_length_and_hashes(data)  # digest before parsing: parsers see only proven bytes
        except RepositoryError as error:
            raise Altered(f"{target.path} is not the file that was signed: {error}", file=name) from error
        return data

    def keep(self, marks: Marks) -> None:
        """Raise the marks to `marks`, durably.

        Raises:
            TrustError: they were damaged, and what is written over them would be too low.
            FaultError: the disk failed.
        """
        self._require_marks()
        if marks is not self.marks:
            self._store.save(marks)
            self.marks = marks

    def _require_marks(self) -> None:
        if self._damaged is not None:
            raise TrustError(str(self._damaged), hint=self._damaged.hint)

    def _now(self, root: Root) -> float:
        return self.marks.now(self._clock.now(), keys=_keys(root.roles["timestamp"]))


def issued(session: Session) -> int | None:
    """When the timestamp says that it was signed, Unix seconds; None if it says nothing that can be."""
    timestamp = session.timestamp
    said = timestamp.unrecognized_fields.get(ISSUED)
    # a stolen key must not push the clock's floor past what it can sign anyway
    return said if type(said) is int and 0 <= said <= timestamp.expires.timestamp() else None


def _raise_top_level(marks: Marks, session: Session) -> Marks:
    root = session.root
    marks = marks.raise_version(ROOT, keys="any", version=root.version)
    snapshot = root.roles["snapshot"]
    marks = marks.raise_version("timestamp", keys=_keys(root.roles["timestamp"]), version=session.timestamp.version)
    marks = marks.raise_version("snapshot", keys=_keys(snapshot), version=session.snapshot_version)
    marks = _raise_listed(marks, "targets", root.roles["targets"], session.targets.version, snapshot=snapshot)
    return marks.raise_issued(keys=_keys(root.roles["timestamp"]), at=issued(session) or 0)


def _raise_listed(marks: Marks, name: str, role: Role, version: int, *, snapshot: Role) -> Marks:
    """A role that the snapshot lists: its versions count anew with a new key of either (TUF 1.0.33, 5.3.11)."""
    return marks.raise_version(name, keys=sha256(f"{_keys(role)}\n{_keys(snapshot)}".encode()), version=version)


def _keys(role: Role) -> str:
    return key_set(role.keyids, role.threshold)
