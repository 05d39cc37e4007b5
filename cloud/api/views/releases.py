"""Releases with their variants."""

from __future__ import annotations

import msgspec

from cloud.store.releases import ReleaseRow
from shared.api import Release, Variant


def release_view(row: ReleaseRow) -> Release:
    """One release."""
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
    )
