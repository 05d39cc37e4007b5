"""Chunks in the form in which they travel, made when they are first asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict

from cloud.distribution.blobs import BlobStore
from cloud.distribution.layouts import Layout, Layouts, Place
from cloud.distribution.schedule import Key
from shared.errors import FaultError
from shared.forms import Piece, encode
from shared.ids import Digest

KEPT = 64 << 20
"""Bytes of made messages that are remembered: the waves of a rollout ask for the same ones within minutes."""


class Encoded:
    """Blocks on the disk and takes a core while it packs: call it in worker threads, several at once if need be."""

    def __init__(self, blobs: BlobStore, layouts: Layouts, *, kept: int = KEPT) -> None:
        self._blobs = blobs
        self._layouts = layouts
        self._most = kept
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, bytes] = OrderedDict()
        self.kept = 0
        """Bytes remembered now."""

    def chunks(self, digest: Digest) -> int:
        """How many a blob has; none when it is not here."""
        layout = self._layouts.layout(digest) if self._blobs.has(digest) else None
        return len(layout) if layout else 0

    def message(self, key: Key) -> bytes:
        """What is published for `key`; empty when there is no such chunk.

        Raises:
            FaultError: the store failed.
        """
        layout = self._layouts.layout(key.digest)
        place = layout.place(key.index) if layout else None
        if place is None:
            return b""
        if not key.form:
            return self._read(key.digest, place)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = encode(self._read(key.digest, place), base=self._base(key, place))
        self._keep(key, made)
        return made

    def _base(self, key: Key, place: Place) -> Piece | None:
        """What those who listen hold already, if we have it, too."""
        base = Digest(key.base)
        layout: Layout | None = self._layouts.layout(base) if base and self._blobs.has(base) else None
        found = layout.counterpart(place, key.index) if layout else None
        return Piece(found.offset, self._read(base, found)) if found else None

    def _read(self, digest: Digest, place: Place) -> bytes:
        data = self._blobs.read(digest, place.offset, place.size)
        if len(data) != place.size:
            raise FaultError(f"blob {digest} ends before its chunk at {place.offset}", hint="Import the model again.")
        return data

    def _keep(self, key: Key, made: bytes) -> None:
        with self._lock:
            before = self._made.pop(key, b"")
            self._made[key] = made
            self.kept += len(made) - len(before)
            while self.kept > self._most:
                _, oldest = self._made.popitem(last=False)
                self.kept -= len(oldest)
