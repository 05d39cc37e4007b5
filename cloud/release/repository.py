"""A tenant's TUF repository: what the signers say about releases and fleets, on disk.

Every change signs the roles it touches, then snapshot, then timestamp; the timestamp's rename is the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from cloud.release.commit import Committer, Stamp
from cloud.release.draft import Draft, finish
from cloud.release.exclusive import Exclusive
from cloud.release.files import TIMESTAMP_FILE, Check, RepositoryFiles, metadata_name
from cloud.release.generations import named
from cloud.release.heads import Heads, read_heads
from cloud.release.keys import KeyKind, KeyRing
from cloud.release.modelsig import MODEL_SIGNING, public_pem
from cloud.release.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, due, rule
from shared.audit import Signed
from shared.bundle import FleetDesired, Release, decode_desired, decode_release, encode
from shared.clock import Clock
from shared.errors import RefusedError
from shared.ids import fleet_id, sha256, tenant_id
from shared.trust.admission import custom
from shared.trust.names import (
    MANIFEST,
    MODEL_KEYS,
    RELEASE_PATHS,
    RELEASES,
    TENANT,
    desired_path,
    fleet_paths,
    fleet_role,
    manifest_path,
    variant_path,
)
from shared.trust.roots import model_keys

KEEP = 3
"""Versions of each role that stay published: a device in mid-refresh still finds the snapshot it started with."""


class Renewal(NamedTuple):
    """What `Repository.renew` did."""

    signed: list[str]
    """Roles signed again."""

    waiting: list[str]
    """Roles that are due, but whose keys are not here."""


class Change(NamedTuple):
    """What a ceremony works on."""

    heads: Heads
    """Altered in memory."""

    keys: KeyRing
    commit: Committer
    """Writes into a draft."""

    at: float
    """Unix seconds."""


class Repository:
    """Publishes; safe to call from several threads and processes."""

    def __init__(
        self, directory: Path, *, keys: KeyRing, clock: Clock, stamp: Stamp = dict, check: Check = lambda: None
    ) -> None:
        """Use `open` or `create`."""
        self._directory = directory
        self._files = RepositoryFiles(directory, check=check)
        self._keys = keys
        self._clock = clock
        self._stamp = stamp
        self._commit = Committer(self._files, keys, stamp=stamp)
        self._lock = Exclusive(directory)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether `directory` holds a complete repository."""
        return (directory / TIMESTAMP_FILE).is_file()

    @classmethod
    def create(cls, directory: Path, *, keys: KeyRing, tenant: str, clock: Clock) -> Repository:
        """Make keys and the first version of every role; after a crash in the middle, call it again.

        Raises:
            RefusedError: there is a repository already.
        """
        if cls.exists(directory):
            raise RefusedError(f"{directory} holds a repository already", hint="Open it, or choose another directory.")
        repository = cls(directory, keys=keys, clock=clock)
        repository._create(tenant_id(tenant))
        return repository

    @classmethod
    def open(cls, directory: Path, *, keys: KeyRing, clock: Clock, stamp: Stamp = dict) -> Repository:
        """Open a repository and prove it whole; `stamp` gives further fields of its timestamps.

        Raises:
            RefusedError: there is none.
            TrustError: it was altered on disk.
        """
        if not cls.exists(directory):
            raise RefusedError(f"{directory} holds no repository", hint="Create it first.")
        repository = cls(directory, keys=keys, clock=clock, stamp=stamp)
        repository.heads()
        return repository

    def checked(self, check: Check) -> Repository:
        """The same repository for a writer whom `check` must let pass before each change of a file."""
        return Repository(self._directory, keys=self._keys, clock=self._clock, stamp=self._stamp, check=check)

    @property
    def root_bytes(self) -> bytes:
        """The first root: what a device is given when it enrols."""
        return self._files.need(metadata_name(ROOT, 1))

    @property
    def timestamp_version(self) -> int:
        """Version of the committed timestamp."""
        return int(Metadata[Timestamp].from_bytes(self._files.need(TIMESTAMP_FILE)).signed.version)

    def signed(self) -> Signed:
        """The committed timestamp with every root: what anybody may hold the audit log against."""
        with self._lock:
            roots = range(1, self.heads().root.signed.version + 1)
            texts = [self._files.need(metadata_name(ROOT, version)).decode() for version in roots]
            return Signed(timestamp=self._files.need(TIMESTAMP_FILE).decode(), roots=texts)

    def heads(self) -> Heads:
        """All current metadata, proven.

        Raises:
            TrustError: the repository was altered on disk.
            FaultError: the disk failed, or a file is missing.
        """
        with self._lock:
            finish(self._files)
            return read_heads(self._files)

    def model_keys(self) -> dict[str, str]:
        """Name → PEM of the keys that must vouch for a model's bytes; none in a repository from before them."""
        return model_keys(self.heads().root.signed)

    def fleets(self) -> list[str]:
        """Fleets that have a role here."""
        prefix = fleet_role("")
        return sorted(role.removeprefix(prefix) for role in self.heads().delegated if role.startswith(prefix))

    def releases(self) -> list[str]:
        """Identifiers of every published release."""
        return sorted(_published(self.heads()))

    def signers(self) -> list[str]:
        """Identifiers of the keys that vouch for every published release."""
        return sorted(self.heads().delegated[RELEASES].signatures)

    def desired(self, fleet: str) -> FleetDesired:
        """The committed desired state of a fleet.

        Raises:
            RefusedError: no such fleet.
        """
        with self._lock:
            target = _fleet(self.heads(), fleet).signed.targets[desired_path(fleet)]
            return decode_desired(self._files.need(_stored(target)))

    def add_fleet(self, fleet: str) -> None:
        """Delegate to a fleet's own key and sign an empty desired state; nothing happens when it exists.

        Raises:
            RefusedError: the offline targets key is not here.
        """
        role = fleet_role(fleet_id(fleet))
        with self._lock:
            heads = self.heads()
            if role in heads.delegated:
                return
            self._delegate(heads.targets.signed, role, paths=fleet_paths(fleet))
            fresh = Targets()
            self._put(fresh, desired_path(fleet), encode(FleetDesired(fleet=fleet)))
            heads.delegated[role] = Metadata(fresh)
            self._finish(heads, [TARGETS, role])

    def publish_release(self, release: Release) -> None:
        """Sign a release's manifest and each of its variants; nothing happens when that is signed already.

        Raises:
            ContractError: the manifest contradicts itself.
            RefusedError: its counter is not above every published one of its model line.
        """
        data = encode(release)
        decode_release(data)
        with self._lock:
            heads = self.heads()
            signed = heads.delegated[RELEASES].signed
            before = signed.targets.get(manifest_path(release.id))
            if before is not None and before.hashes["sha256"] == sha256(data):
                return
            _check_counter(release, _published(heads))
            line = {"counter": release.counter, "model": release.model}
            self._put(signed, manifest_path(release.id), data, custom=line)
            for variant in release.variants:
                path = variant_path(release.id, variant.name)
                signed.targets[path] = TargetFile(
                    variant.size, {"sha256": variant.digest}, path, {"custom": custom(release, variant)}
                )
            self._finish(heads, [RELEASES])

    def set_desired(self, desired: FleetDesired) -> None:
        """Sign what a fleet should run; nothing happens when that is signed already.

        Raises:
            RefusedError: no such fleet, or it names a release that is not published.
        """
        with self._lock:
            heads = self.heads()
            signed = _fleet(heads, desired.fleet).signed
            _check_named(desired, _published(heads))
            before = signed.targets.get(desired_path(desired.fleet))
            if self._put(signed, desired_path(desired.fleet), encode(desired)) != before:
                self._finish(heads, [fleet_role(desired.fleet)])

    def renew(self) -> Renewal:
        """Sign again whatever has lived half of its life; call it a few times a day.

        Raises:
            FaultError: the disk failed.
        """
        with self._lock:
            heads, now = self.heads(), self._clock.now()
            wanted = [role for role, metadata in heads.all().items() if due(role, metadata.signed.expires, at=now)]
            waiting = [role for role in wanted if not self._commit.can_sign(role, by=heads.delegator(role))]
            able = [role for role in wanted if role not in waiting]
            if ROOT in able:
                self._commit.root(heads.root, at=now)
            touched = [role for role in able if role in heads.target_roles()]
            if touched or SNAPSHOT in able:
                self._finish(heads, touched)
            elif able:  # a new root too is published with the next timestamp
                self._commit.timestamp(heads, at=now)
            return Renewal(signed=able, waiting=waiting)

    def files(self) -> list[tuple[str, bytes]]:
        """All files to publish, in an order in which no reader meets a name before its file.

        Roots, small targets, delegated roles, targets, snapshots, and the timestamp last; of every role but
        root the last `KEEP` versions.
        """
        with self._lock:
            return [(name, self._files.need(name)) for name in self._names(self.heads())]

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Change keys and roles as a ceremony does: all that is signed inside becomes true at the end, or nothing.

        Raises:
            TrustError: the repository was altered on disk.
            FaultError: the disk failed.
        """
        with self._lock:
            draft = Draft(self._files)
            yield Change(self.heads(), self._keys, Committer(draft, self._keys, stamp=self._stamp), self._clock.now())
            draft.commit()
            self._files.prune(set(self._names(self.heads())))

    def _create(self, tenant: str) -> None:
        now = self._clock.now()
        model = public_pem(self._keys.ensure(MODEL_SIGNING, kind=KeyKind.P256))
        fields = {TENANT: tenant, MODEL_KEYS: {MODEL_SIGNING: model}}
        root = Root(consistent_snapshot=True, unrecognized_fields=fields)
        for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
            for name in rule(role).keys:
                root.add_key(named(self._keys.ensure(name, offline=rule(role).offline), name), role)
            root.roles[role].threshold = rule(role).threshold
        targets = Targets(delegations=Delegations(keys={}, roles={}))
        self._delegate(targets, RELEASES, paths=RELEASE_PATHS)
        heads = Heads(
            root=Metadata(root),
            targets=Metadata(targets),
            delegated={RELEASES: Metadata(Targets())},
            snapshot=Metadata(Snapshot(meta={})),
            timestamp=Metadata(Timestamp()),
        )
        self._commit.root(heads.root, at=now)
        self._finish(heads, [TARGETS, RELEASES])

    def _delegate(self, targets: Targets, role: str, *, paths: str) -> None:
        delegations = targets.delegations
        if delegations is None or delegations.roles is None:
            raise RefusedError("the targets role delegates in a way this repository does not know")
        delegations.roles[role] = DelegatedRole(role, [], rule(role).threshold, terminating=True, paths=[paths])
        for name in rule(role).keys:
            targets.add_key(named(self._keys.ensure(name), name), role)

    def _put(self, signed: Targets, path: str, data: bytes, *, custom: dict[str, Any] | None = None) -> TargetFile:
        """Write a small target and name it in `signed`."""
        target = TargetFile.from_data(path, data, ["sha256"])
        if custom:
            target.unrecognized_fields["custom"] = custom
        self._files.write(_stored(target), data)
        signed.targets[path] = target
        return target

    def _finish(self, heads: Heads, roles: Iterable[str]) -> None:
        self._commit.roles(heads, roles, at=self._clock.now())
        self._files.prune(set(self._names(self.heads())))

    def _names(self, heads: Heads) -> list[str]:
        roots = [metadata_name(ROOT, version) for version in range(1, heads.root.signed.version + 1)]
        delegated = [name for role in sorted(heads.delegated) for name in _recent(role, heads.version(role))]
        small = [name for metadata in delegated for name in self._small_targets(metadata)]
        return [
            *roots,
            *dict.fromkeys(small),
            *delegated,
            *_recent(TARGETS, heads.version(TARGETS)),
            *_recent(SNAPSHOT, heads.snapshot.signed.version),
            TIMESTAMP_FILE,
        ]

    def _small_targets(self, metadata: str) -> list[str]:
        """Stored targets that one delegated metadata file names; variants travel as chunks instead."""
        signed = Metadata[Targets].from_bytes(self._files.need(metadata)).signed
        return [_stored(target) for path, target in signed.targets.items() if path.endswith(_STORED)]


_STORED = (f"/{MANIFEST}", "/desired.json")


def _recent(role: str, version: int) -> list[str]:
    return [metadata_name(role, v) for v in range(max(1, version - KEEP + 1), version + 1)]


def _stored(target: TargetFile) -> str:
    return f"targets/{target.get_prefixed_paths()[0]}"


def _published(heads: Heads) -> dict[str, dict[str, Any]]:
    """Release → what was signed beside its manifest."""
    targets = heads.delegated[RELEASES].signed.targets
    return {path.split("/")[1]: target.custom for path, target in targets.items() if path.endswith(f"/{MANIFEST}")}


def _fleet(heads: Heads, fleet: str) -> Metadata[Targets]:
    role = heads.delegated.get(fleet_role(fleet))
    if role is None:
        raise RefusedError(f"there is no fleet {fleet[:80]!r}", hint="Add it first.")
    return role


def _check_counter(release: Release, published: Mapping[str, Mapping[str, Any]]) -> None:
    newest = max((said["counter"] for said in published.values() if said["model"] == release.model), default=0)
    if release.counter <= newest:
        raise RefusedError(
            f"release {release.id} does not follow {release.model}-{newest}",
            hint="Counters only grow; to go back, release the old bytes again under a higher counter.",
        )


def _check_named(desired: FleetDesired, published: Collection[str]) -> None:
    named = {release for models in [desired.default, *desired.devices.values()] for release in models.values()}
    unknown = sorted(release for release in named if release and release not in published)
    if unknown:
        raise RefusedError(f"not published: {', '.join(unknown)[:200]}", hint="Publish the release first.")
