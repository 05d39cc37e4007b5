"""Releases with their variants."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloud.access.approvers import Decided, content
from cloud.store.attestations import AttestationRow
from cloud.store.releases import ReleaseRow
from shared.access import Vote
from shared.api import Release, Variant
from shared.attested import Attested


def release_view(
    row: ReleaseRow, *, attestations: Sequence[AttestationRow] = (), decided: Decided | None = None
) -> Release:
    """One release, with the kinds of its attestations and, where people decide, what they said."""
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
        content=content(row),
        approval=decided.standing if decided else "",
        votes=[
            Vote(by=vote.principal, approved=vote.approved, reason=vote.reason, at=vote.at)
            for vote in (decided.votes if decided else ())
        ],
    )


def attested_view(row: AttestationRow) -> Attested:
    """One attestation, whole."""
    return Attested(kind=row.kind, attestor=row.attestor, envelope=row.envelope, at=row.at)
