"""Releases with their variants."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.store.attestations import AttestationRow
from cloud.store.releases import ReleaseRow
from shared.api import Release, Variant
from shared.attested import Attested


def release_view(row: ReleaseRow, *, attestations: Sequence[AttestationRow] = ()) -> Release:
    """One release, with the kinds of its attestations."""
    manifest = row.document()
    return Release(
        id=row.id,
        model=row.model,
        counter=row.counter,
        run=row.run,
        digest=row.digest,
        signers=row.signers,
        replaces=row.replaces,
        created_at=row.created_at,
        published_at=row.published_at,
        variants=[msgspec.convert(variant, Variant, from_attributes=True) for variant in manifest.variants],
        evaluation=manifest.evaluation,
        labels=manifest.schema.labels,
        attestations=sorted({held.kind for held in attestations}),
        refusal=row.refusal,
    )


def attested_view(row: AttestationRow) -> Attested:
    """One attestation, whole."""
    return Attested(kind=row.kind, attestor=row.attestor, envelope=row.envelope, at=row.at)
