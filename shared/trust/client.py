"""Which signed documents a device may act on.

python-tuf proves signatures, thresholds, freshness and consistency, `shared.trust.custody` that nothing goes back; what
this client adds is numbered in `desired`, `release` and `admit`. Synchronous, for one process and one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Targets

from shared.bundle import FleetDesired, Release, Runtime, Variant, decode_desired, decode_release
from shared.clock import Clock
from shared.errors import TrustError
from shared.ids import check_name
from shared.trust import admission
from shared.trust.custody import Custody, issued
from shared.trust.marks import ROOT, Marks
from shared.trust.names import ISSUED, RELEASES, desired_path, fleet_role, manifest_path
from shared.trust.roots import model_keys, trusted_root
from shared.trust.session import Session

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

        With damaged high-water marks nothing can be refreshed or remembered; `model_keys` still answers.
        """
        self._root = root
        self._custody = Custody(directory, root=root, source=source, clock=clock, check=_check_issued)

    @property
    def marks(self) -> Marks:
        """What this device has accepted so far."""
        return self._custody.marks

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date; after an error nothing can be read.

        Raises:
            Expired: metadata is past its date.
            Altered: a file is not the one that is signed.
            TrustError: the high-water marks are damaged, a proof failed, or an older version than one accepted before
                was served.
            TransportError: files are missing at the source.
            FaultError: the disk failed.
        """
        self._custody.refresh()

    def desired(self, fleet: str) -> FleetDesired:
        """What the signers want `fleet` to run.

        Raises:
            TrustError, TransportError, FaultError: as for `refresh`.
            ContractError: signed, but not a desired state.
        """
        check_name(fleet, kind="fleet id")
        _, data = self._read(desired_path(fleet), role=fleet_role(fleet))
        document = decode_desired(data)
        # (1) a fleet's key says something about that fleet only
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
        # (2) one release under one name, and (3) each variant signed twice with the same words
        if document.id != release:
            raise TrustError(f"the manifest signed for {release} is about {document.id[:80]!r}")
        admission.check_variants(document, role.targets)
        return document

    def admit(
        self, release: Release, *, hardware: Collection[str], runtimes: Collection[Runtime], unexecuted: bool = False
    ) -> Variant:
        """Choose the variant this device should download, or refuse; `release` comes from `self.release`.

        Args:
            release: proven manifest.
            hardware: facts of this device, e.g. `cpu`, `sm87`.
            runtimes: what this device can execute, the preferred one first.
            unexecuted: whether its owner admits files that nobody could run before they were signed.

        Raises:
            TrustError: an older release than one that ran here, or nothing for this device.
        """
        return admission.admit(
            release,
            marks=self.marks,
            hardware=hardware,
            runtimes=runtimes,
            model_keys=self.model_keys(),
            unexecuted=unexecuted,
        )

    def model_keys(self) -> dict[str, str]:
        """Key id → PEM of the keys that must vouch for a model's bytes, from the newest root accepted here.

        It needs no connection: a slot is proven at every start, and a start must not wait for the broker.

        Raises:
            TrustError: the chain of roots in the cache ends before a root that was accepted.
            FaultError: the disk failed.
        """
        session, places = self._custody.session, (self._custody.cache, self._custody.copy)
        least = self.marks.version(ROOT, keys="any")
        return model_keys(session.root if session else trusted_root(*places, first=self._root, least=least))

    def remember(self, release: Release) -> None:
        """Raise the counter mark of its model line, durably; call it before `release` first serves.

        Raises:
            TrustError: it is older than one that ran here.
            FaultError: the disk failed.
        """
        self._custody.keep(self.marks.raise_release(release))

    def _read(self, path: str, *, role: str) -> tuple[Targets, bytes]:
        target = self._custody.find(path)
        session = self._custody.session
        # only the role that the path belongs to may name the file; targets signs delegations and nothing else
        if session is None or session.targets.targets:
            raise TrustError("the targets role names files itself, which only its delegations may")
        metadata = session.role(role)
        if target is None or metadata is None or path not in metadata.targets:
            raise TrustError(f"{path} is not signed by the role {role}")
        return metadata, self._custody.fetch(metadata.targets[path], most=MAX_DOCUMENT)


def _check_issued(session: Session) -> None:
    if issued(session) is None:
        said = str(session.timestamp.unrecognized_fields.get(ISSUED))[:40]
        raise TrustError(f"the timestamp's issue time {said!r} is none")
