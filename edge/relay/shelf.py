"""Chunks by digest, from every slot of every model and from what is being downloaded; nothing leaves unproven."""

from __future__ import annotations

import math
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from edge.relay.frames import Has
from edge.update.partial import PartialFile
from edge.update.slots import NAMES
from shared.bundle import Variant
from shared.clock import Clock
from shared.errors import HinterlandError
from shared.ids import Digest, sha256
from shared.trust import inspect_slot
from shared.trust.slot import SEAL

MAX_CHUNK = 1 << 20
"""Bytes; four times what releases are cut into. Larger ones are not given: each is held in memory for a moment."""


STAGING_S = 15.0
"""Seconds in which a complete download has its place in a slot: it is moved there, synced and sealed."""


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    index: int
    offset: int
    size: int


@dataclass(slots=True)
class _Loan:
    partial: PartialFile
    places: Mapping[str, _Place]
    until: float = math.inf
    """When it is forgotten, once it is complete and on its way into a slot."""

    @property
    def promising(self) -> bool:
        """Whether what it cannot give now will be here soon."""
        return not self.partial.closed or self.partial.complete


class Shelf:
    """Blocks on the disk. `look` and `give` belong to one thread, `lend` to any."""

    def __init__(self, models: Path, *, clock: Clock) -> None:
        """`models` is the directory of all slots."""
        self._clock = clock
        self._models = models
        self._slots: dict[Path, tuple[tuple[int, int], Mapping[str, _Place]]] = {}
        self._lent: dict[str, _Loan] = {}
        self._lock = threading.Lock()

    def lend(self, partial: PartialFile) -> None:
        """From now on give what `partial` has proven, and say of the rest that it is coming, until it is in a slot."""
        loan = _Loan(partial, _places(partial.variant, partial.path))
        with self._lock:
            self._lent[partial.path.name] = loan

    def look(self) -> None:
        """See what the slots hold now; costs a `stat` a slot where nothing has changed."""
        seen = {slot: stamp for slot in self._each_slot() if (stamp := _stamp(slot / SEAL))}
        self._slots = {
            slot: known if (known := self._slots.get(slot)) and known[0] == stamp else (stamp, _index(slot))
            for slot, stamp in seen.items()
        }
        with self._lock:
            self._lent = {name: loan for name, loan in self._lent.items() if self._stands(loan)}

    def _stands(self, loan: _Loan) -> bool:
        """Whether a download, or what an attempt left of it, is still of use."""
        if loan.partial.closed and loan.partial.complete:
            loan.until = min(loan.until, self._clock.monotonic() + STAGING_S)
            return self._clock.monotonic() < loan.until
        return not loan.partial.closed or loan.partial.path.exists()

    def give(self, digest: Digest) -> tuple[Has, bytes]:
        """The chunk of that content, or where it stands; bytes that are not of that digest any more are not given."""
        for _, places in self._slots.values():
            if (place := places.get(digest)) and (data := _proven(place, digest)) is not None:
                return Has.HERE, data
        return self._from_downloads(digest)

    def _from_downloads(self, digest: Digest) -> tuple[Has, bytes]:
        with self._lock:
            lent = list(self._lent.values())
        has = Has.ABSENT
        for loan in lent:
            place = loan.places.get(digest)
            if place is None:
                continue
            if not loan.partial.lacks(place.index) and (data := _proven(place, digest)) is not None:
                return Has.HERE, data
            if loan.promising:
                has = Has.COMING
        return has, b""

    def _each_slot(self) -> Iterator[Path]:
        try:
            models = sorted(self._models.iterdir())
        except OSError:
            return
        for model in models:
            yield from (model / name for name in NAMES)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _index(slot: Path) -> Mapping[str, _Place]:
    """Where a sealed slot keeps which chunk. Who vouches for the model is not asked: content is proven by its name."""
    try:
        fact = inspect_slot(slot)
    except HinterlandError:
        return {}
    return _places(fact.variant, fact.path)


def _places(variant: Variant, path: Path) -> Mapping[str, _Place]:
    offsets = accumulate((chunk.size for chunk in variant.chunks), initial=0)
    chunks = enumerate(zip(variant.chunks, offsets, strict=False))  # the last offset is the end of the file
    return {chunk.digest: _Place(path, index, at, chunk.size) for index, (chunk, at) in chunks}


def _proven(place: _Place, digest: Digest) -> bytes | None:
    """Bytes of that digest; None where the disk has others by now: bit rot must not make neighbours distrust us."""
    if place.size > MAX_CHUNK:
        return None
    try:
        file = os.open(place.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.pread(file, place.size, place.offset) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    except OSError:
        return None
    finally:
        os.close(file)
    return data if sha256(data) == digest else None
