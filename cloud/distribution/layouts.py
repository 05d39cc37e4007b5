"""Where the chunks of a blob lie: what its manifest says, for the side that sends them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

from cloud.distribution.blobs import BlobStore
from shared.bundle import CHUNK_SIZE, Chunk
from shared.ids import Digest


class Place(NamedTuple):
    """A stretch of a blob."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The chunks of one blob, in order."""

    borders: tuple[int, ...]
    """Where each begins, and the end of the last."""

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> Layout:
        """As a manifest lists them."""
        return cls((0, *accumulate(chunk.size for chunk in chunks)))

    def __len__(self) -> int:
        return len(self.borders) - 1

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        return self.borders[-1]

    def place(self, index: int) -> Place | None:
        """Where chunk `index` lies; None when there is none."""
        if not 0 <= index < len(self):
            return None
        start, end = self.borders[index : index + 2]
        return Place(start, end - start)

    def counterpart(self, of: Place, index: int) -> Place | None:
        """What of this blob is likely to resemble chunk `index` of another one, which lies at `of`.

        Of two versions of one model, tensors come in one order: the chunk with the same number, if it is as large;
        else the nearest that is; else whatever lies at the same place. None past the end.
        """
        same = self.place(index)
        if same is not None and same.size == of.size:
            return same
        found = [start for start, end in pairwise(self.borders) if end - start == of.size]
        if found:
            after = bisect(found, of.offset)
            return Place(min(found[max(0, after - 1) : after + 1], key=lambda start: abs(start - of.offset)), of.size)
        room = self.size - of.offset
        return Place(of.offset, min(of.size, room)) if room > 0 else None


class Layouts(Protocol):
    """The port to the manifests' chunk lists; called in worker threads."""

    def layout(self, digest: Digest) -> Layout | None:
        """Of the blob `digest`; None when no release has it."""
        ...


class MemoryLayouts:
    """The twin."""

    def __init__(self) -> None:
        self._layouts: dict[Digest, Layout] = {}

    def add(self, digest: str, chunks: Sequence[Chunk]) -> None:
        """Say how a blob is cut."""
        self._layouts[Digest(digest)] = Layout.of(chunks)

    def layout(self, digest: Digest) -> Layout | None:
        return self._layouts.get(digest)


class EvenLayouts:
    """Every blob cut at fixed offsets, as `shared.bundle.split` does."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def layout(self, digest: Digest) -> Layout | None:
        if not self._blobs.has(digest):
            return None
        size = self._blobs.size(digest)
        return Layout((*range(0, size, CHUNK_SIZE), size))
