"""Releases and their variants; the manifest's bytes are kept as they were signed."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select, update

from cloud.store.layouts import chunks_of
from cloud.store.rows import UnknownError, columns, many, one
from cloud.store.tables import releases, variants
from shared.bundle import Release, Variant, decode_release, digest_of, encode


class ReleaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One release."""

    id: str
    model: str
    counter: int
    run: str
    digest: str
    """Of the manifest."""

    manifest: bytes
    signers: list[str] = []
    """Key ids of the role that signed it."""

    replaces: str = ""
    """The release it takes the place of, when it brings an older one's bytes back; else empty."""

    created_at: float
    published_at: float | None = None
    refusal: str = ""
    """The rules of the admission policy that it breaks; empty while none is known."""

    def document(self) -> Release:
        """The manifest, decoded."""
        return decode_release(self.manifest)


class Releases:
    """Releases in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, release: Release, *, replaces: str = "") -> ReleaseRow:
        """Keep a release that is not signed yet.

        A blob is cut once and for all: devices of every release that has it listen to the same topics.
        """
        release = msgspec.structs.replace(release, variants=[self._as_cut(variant) for variant in release.variants])
        row = ReleaseRow(
            id=release.id,
            model=release.model,
            counter=release.counter,
            run=release.run,
            digest=digest_of(release),
            manifest=encode(release),
            replaces=replaces,
            created_at=release.created,
        )
        self._connection.execute(releases.insert().values(**columns(row)))
        for variant in release.variants:
            values = columns(variant) | {"release": release.id}
            self._connection.execute(variants.insert().values({k: values[k] for k in variants.c.keys()}))  # noqa: SIM118  a column collection iterates over columns
        return row

    def _as_cut(self, variant: Variant) -> Variant:
        known = chunks_of(self._connection, variant.digest)
        return variant if known is None else msgspec.structs.replace(variant, chunks=list(known))

    def signed(self, release: Release) -> ReleaseRow:
        """Keep the manifest with its model signatures, before anybody sees it: each signing gives other bytes."""
        changed = {"manifest": encode(release), "digest": digest_of(release)}
        self._connection.execute(update(releases).where(releases.c.id == release.id).values(**changed))
        return self.get(release.id)

    def refused(self, release: str, rules: str) -> None:
        """Note which rules keep a release from being published; empty for none."""
        self._connection.execute(update(releases).where(releases.c.id == release).values(refusal=rules))

    def published(self, release: str, *, signers: list[str], at: float) -> None:
        """Note that the signed metadata lies in the repository."""
        self._connection.execute(
            update(releases).where(releases.c.id == release).values(published_at=at, signers=signers, refusal="")
        )

    def find(self, release: str) -> ReleaseRow | None:
        """The release, or None."""
        return one(self._connection, select(releases).where(releases.c.id == release), ReleaseRow)

    def get(self, release: str) -> ReleaseRow:
        """The release.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(release)
        if found is None:
            raise UnknownError(f"no release {release!r}", hint="`hinterland releases` lists them.")
        return found

    def all(self, *, model: str | None = None) -> list[ReleaseRow]:
        """Every release, oldest first, or those of one model line."""
        query = select(releases).order_by(releases.c.created_at, releases.c.counter)
        return many(self._connection, query if model is None else query.where(releases.c.model == model), ReleaseRow)

    def unpublished(self) -> list[ReleaseRow]:
        """Those that still have to be signed and published, oldest first."""
        query = select(releases).where(releases.c.published_at.is_(None)).order_by(releases.c.created_at)
        return many(self._connection, query, ReleaseRow)

    def of_run(self, run: str) -> ReleaseRow | None:
        """The release that came from a run, or None; releases that bring bytes back do not count."""
        query = select(releases).where(releases.c.run == run, releases.c.replaces == "")
        return one(self._connection, query, ReleaseRow)

    def next_counter(self, model: str) -> int:
        """Counter of the next release of a model line."""
        highest = self._connection.scalar(select(func.max(releases.c.counter)).where(releases.c.model == model))
        return int(highest or 0) + 1
