"""Attest what the coordinator has on record of a release, and hold it against the admission policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from sqlalchemy import Connection, select

from cloud.audit.log import AuditLog
from cloud.release.attest import predicates
from cloud.release.attest.bom import bill_of_materials, installed
from cloud.release.attest.envelope import ATTESTOR, attest, open_attestation, subjects
from cloud.release.attest.kinds import Attestation, Kind, Origin
from cloud.release.keys import KeyRing
from cloud.release.policy import Violation, decide
from cloud.release.policy_file import read_policy, trusted_keys
from cloud.store.attestations import AttestationRow, Attestations
from cloud.store.database import Database
from cloud.store.releases import ReleaseRow
from cloud.store.runs import Run, Runs
from cloud.store.tables import audit
from shared.bundle import Release
from shared.clock import Clock
from shared.errors import TrustError

HOLDOUT = "federated hold-out: the very files, run by the devices on examples that never train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Makes attestations, and judges releases by them."""

    database: Database
    keys: KeyRing
    clock: Clock
    tenant: str
    policy: Path
    """`admission.toml`; read at each judgement."""

    def judge(self, row: ReleaseRow) -> list[Violation]:
        """Attest what is not attested yet; say which rules the release breaks.

        Raises:
            RefusedError: the policy is none, or the attesting key is not here.
        """
        policy, own = read_policy(self.policy), self.keys.ensure(ATTESTOR)
        self._attest(row, own)
        trusted = trusted_keys(policy) or {own.keyid: own}
        release = row.document()
        with self.database.read() as connection:
            rows = Attestations(connection).of(row.id)
        return decide(
            policy,
            _proven(rows, {own.keyid: own, **trusted}),
            origin=_origin(row),
            about=subjects(release),
            files=[variant.name for variant in release.variants],
            trusted=trusted,
            at=self.clock.now(),
        )

    def _attest(self, row: ReleaseRow, own: Key) -> None:
        with self.database.read() as connection:
            held = {known.kind for known in Attestations(connection).of(row.id) if known.attestor == own.keyid}
            said = {} if held else self._predicates(connection, row)
        missing = {kind: predicate for kind, predicate in said.items() if predicate is not None}
        if not missing:
            return
        signer, about = self.keys.signer(ATTESTOR), subjects(row.document())
        envelopes = {kind: attest(kind, predicate, about=about, signer=signer) for kind, predicate in missing.items()}
        at = self.clock.now()
        with self.database.write() as connection:
            for kind, text in envelopes.items():
                Attestations(connection).add(
                    AttestationRow(release=row.id, kind=kind.value, attestor=own.keyid, envelope=text, at=at)
                )
            AuditLog(connection).add(
                at=at,
                actor="coordinator",
                action="release.attest",
                subject=row.id,
                reason="as on record here",
                after={"kinds": sorted(kind.value for kind in envelopes), "attestor": own.keyid},
            )

    def _predicates(self, connection: Connection, row: ReleaseRow) -> dict[Kind, dict[str, Any] | None]:
        release, run = row.document(), Runs(connection).find(row.run) if row.run else None
        builder = f"urn:hinterland:coordinator:{self.tenant}"
        if run is None:
            return _imported(connection, release, builder)
        measured_at = run.finished_at or run.created_at
        base = Runs(connection).find(run.spec.get("start") or "")
        return {
            Kind.PROVENANCE: predicates.provenance(
                release,
                run,
                Runs(connection).rounds(run.id),
                base=base.result.get("digest", "") if base else "",
                builder=builder,
                versions=installed(),
            ),
            Kind.EVALUATION: predicates.evaluation(release, by=HOLDOUT, at=measured_at, run=run),
            Kind.PARITY: predicates.parity(release, by=HOLDOUT, at=measured_at),
            Kind.BOM: bill_of_materials(
                release, data=_data(run), by=f"federated run {run.id}", versions=installed(), run=run.id
            ),
        }


def _imported(connection: Connection, release: Release, builder: str) -> dict[Kind, dict[str, Any] | None]:
    by, reason = _importer(connection, release.id)
    word = f"word of {by}, who imported it"
    return {
        Kind.PROVENANCE: predicates.import_provenance(
            release, by=by, reason=reason, builder=builder, versions=installed()
        ),
        Kind.EVALUATION: predicates.evaluation(release, by=word, at=release.created),
        Kind.PARITY: predicates.parity(release, by=word, at=release.created),
        Kind.BOM: bill_of_materials(
            release, data=predicates.IMPORT_POLICY, by=f"imported by {by}: {reason}", versions=installed()
        ),
    }


def _importer(connection: Connection, release: str) -> tuple[str, str]:
    """Who ordered a release and why, from the audit log."""
    query = select(audit.c.actor, audit.c.reason).where(audit.c.action == "release.create", audit.c.subject == release)
    found = connection.execute(query).first()
    return (str(found[0]), str(found[1])) if found else ("unknown", "")


def _origin(row: ReleaseRow) -> Origin:
    if row.replaces:
        return Origin.RESTORED if row.run else Origin.REIMPORTED
    return Origin.TRAINED if row.run else Origin.IMPORTED


def _data(run: Run) -> str:
    devices = run.result.get("devices", {})
    held = f"{sum(devices.values())} examples of {len(devices)} devices, family {run.spec.get('task', '')}"
    return f"{held}. {predicates.DATA_POLICY}"


def _proven(rows: list[AttestationRow], keys: dict[str, Key]) -> list[Attestation]:
    """Attestations whose signature one of `keys` made; others count as absent."""
    proven = []
    for row in rows:
        try:
            proven.append(open_attestation(row.envelope, keys=keys))
        except TrustError:
            continue
    return proven
