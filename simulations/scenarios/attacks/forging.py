"""A forger: takes keys out of the coordinator's key store and signs metadata of the attacker's own with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets

from cloud.distribution.cut import cut
from cloud.layout import Layout
from cloud.release.keys import FileKeys
from cloud.release.sealed import Sealer
from shared.bundle import FleetDesired, Release, decode_release, encode
from shared.ids import sha256
from shared.trust.admission import custom
from shared.trust.names import desired_path, fleet_role, manifest_path, variant_path
from simulations.scenarios.attacks.middle import TIMESTAMP, Files, newest, stored


class Forger:
    """Works on a copy of the honest files, with what was stolen and nothing else."""

    def __init__(self, layout: Layout, honest: Mapping[str, bytes], *stolen: str) -> None:
        """Take the keys called `stolen`, as whoever has the key store and its passphrase can."""
        self.files: Files = dict(honest)
        ring = FileKeys(layout.keys, sealer=Sealer(layout.passphrase.read_bytes().strip()))
        self._signers: list[Signer] = [ring.signer(name) for name in stolen]
        self._own = CryptoSigner.generate_ed25519()

    def current(self, role: str) -> Metadata[Any]:
        """A role's newest metadata."""
        return Metadata[Any].from_bytes(newest(self.files, role)[1])

    def sign(self, metadata: Metadata[Any]) -> bytes:
        """With every stolen key; with one of the attacker's own where none was stolen."""
        metadata.signatures.clear()
        for signer in self._signers or [self._own]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def root(self) -> None:
        """A next root, signed by what was stolen."""
        root = self.current("root")
        root.signed.version += 1
        self.files[f"metadata/{root.signed.version}.root.json"] = self.sign(root)

    def name_release(self, role: str, release: Release) -> Metadata[Any]:
        """Have `role` name a release: its manifest and its variants."""
        metadata = self.current(role)
        self._name(metadata.signed, manifest_path(release.id), encode(release))
        for variant in release.variants:
            path = variant_path(release.id, variant.name)
            metadata.signed.targets[path] = TargetFile(
                variant.size, {"sha256": variant.digest}, path, {"custom": custom(release, variant)}
            )
        return metadata

    def want(self, fleet: str, desired: FleetDesired, *, about: str = "") -> Metadata[Any]:
        """Have the fleet's role say what it should run; under its own path, even if it is about another."""
        metadata = self.current(fleet_role(fleet))
        self._name(metadata.signed, desired_path(about or fleet), encode(desired))
        return metadata

    def lead_to(self, role: str, metadata: Metadata[Any]) -> None:
        """Sign the next version of `role`, and lead snapshot and timestamp to it, as far as the keys carry."""
        metadata.signed.version += 1
        self.point_at(role, metadata.signed.version, self.sign(metadata))

    def point_at(self, role: str, version: int, data: bytes) -> None:
        """Lead snapshot and timestamp to a file of `role`."""
        self.files[f"metadata/{version}.{role}.json"] = data
        snapshot = self.current("snapshot")
        snapshot.signed.version += 1
        snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        signed = self.sign(snapshot)
        self.files[f"metadata/{snapshot.signed.version}.snapshot.json"] = signed
        timestamp = self.current("timestamp")
        timestamp.signed.version += 1
        timestamp.signed.snapshot_meta = MetaFile.from_data(snapshot.signed.version, signed, ["sha256"])
        self.files[TIMESTAMP] = self.sign(timestamp)

    def _name(self, signed: Targets, path: str, data: bytes) -> None:
        signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
        self.files[stored(path, data)] = data


def manifest_of(files: Mapping[str, bytes], release: str) -> Release:
    """A release's manifest among signed files."""
    return decode_release(next(data for name, data in files.items() if name.startswith(f"targets/releases/{release}/")))


def forged_release(model: str, counter: int, data: bytes, template: Release) -> Release:
    """What the attacker would like to be run, in an honest release's clothes."""
    variant = msgspec.structs.replace(template.variants[0], digest=sha256(data), size=len(data), chunks=cut(data))
    return msgspec.structs.replace(template, id=f"{model}-{counter}", model=model, counter=counter, variants=[variant])
