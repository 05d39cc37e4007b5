"""How blobs are cut, as the manifests of releases say."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy import Connection, select

from cloud.distribution.layouts import Layout
from cloud.store.database import Database
from cloud.store.tables import releases, variants
from shared.bundle import Chunk, decode_release
from shared.ids import Digest

KEPT = 64
"""Blobs whose layout is remembered; it never changes, and one of 10,000 chunks takes 80 KiB."""


class SqlLayouts:
    """The port `cloud.distribution.layouts.Layouts` over the database; safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: OrderedDict[Digest, Layout] = OrderedDict()

    def layout(self, digest: Digest) -> Layout | None:
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        with self._database.read() as connection:
            chunks = chunks_of(connection, digest)
        if chunks is None:
            return None
        layout = Layout.of(chunks)
        with self._lock:
            self._known[digest] = layout
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return layout


def chunks_of(connection: Connection, digest: str) -> Sequence[Chunk] | None:
    """The chunk list that the first release with this blob gave it; None when there is none."""
    query = (
        select(releases.c.manifest)
        .join(variants, variants.c.release == releases.c.id)
        .where(variants.c.digest == digest)
        .order_by(releases.c.created_at, releases.c.id)
        .limit(1)
    )
    manifest = connection.scalar(query)
    found = decode_release(manifest).variants if manifest is not None else []
    return next((variant.chunks for variant in found if variant.digest == digest), None)
