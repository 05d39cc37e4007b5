"""The models that serve, and the swap from one release to the next.

A swap loads the new model beside the old one, tries it, and changes which of them the next lease gets.
Inputs in work keep the session they started with, so none is dropped and each result is from one release.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.inference.runtime import Load, Session
from edge.inference.warmup import warm_up
from shared.bundle import Release, Schema, Variant
from shared.trust import read_proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A release as it serves."""

    release: Release
    variant: Variant
    session: Session

    @property
    def schema(self) -> Schema:
        """How to feed the model and read its answer."""
        return self.release.schema


class _Place:
    """A served release and how many inputs are in work on it."""

    __slots__ = ("retired", "served", "users")

    def __init__(self, served: Served) -> None:
        self.served = served
        self.users = 0
        self.retired = False

    def close_if_done(self) -> None:
        if self.retired and self.users == 0:
            self.served.session.close()


class ModelHost:
    """Holds one serving session per model line. All methods belong to one event loop."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._places: dict[str, _Place] = {}
        self._loading = asyncio.Lock()  # one at a time: a swap already holds two models in memory
        self._arrivals: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def serving(self, model: str) -> Served | None:
        """What serves `model` now; to infer with it, take a lease."""
        place = self._places.get(model)
        return place.served if place else None

    @contextmanager
    def lease(self, model: str) -> Iterator[Served | None]:
        """Hold what serves `model` now: its session stays open until the lease ends."""
        place = self._places.get(model)
        if place is None:
            yield None
            return
        place.users += 1
        try:
            yield place.served
        finally:
            place.users -= 1
            place.close_if_done()

    async def arrival(self, model: str) -> None:
        """Return once something serves `model`."""
        await self._arrivals[model].wait()

    async def activate(self, model: str, release: Release, variant: Variant, path: Path) -> None:
        """Serve `variant` of `release`, whose bytes lie at `path`; on any error the old release serves on.

        Raises:
            TrustError: the bytes are not the variant's, or are a model that must not be parsed.
            FaultError: the file cannot be read, or the model does not load, answer or fit its schema.
        """
        async with self._loading:
            session = await _kept(
                asyncio.to_thread(load_proven, path, release=release, variant=variant, load=self._load)
            )
            old = self._places.get(model)
            self._places[model] = _Place(Served(release=release, variant=variant, session=session))
            self._arrivals[model].set()
            _retire(old)

    async def withdraw(self, model: str) -> None:
        """Serve nothing for `model` from the next input on."""
        async with self._loading:
            self._arrivals[model].clear()
            _retire(self._places.pop(model, None))

    async def close(self) -> None:
        """Serve nothing any more; models in processes of their own end."""
        for model in list(self._places):
            await self.withdraw(model)


async def _kept(loading: Coroutine[None, None, Session]) -> Session:
    """The loaded session; one that is cancelled while it loads is closed once it is there, by nobody else."""
    task = asyncio.create_task(loading, name="load")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_discard)
        raise


def _discard(task: asyncio.Task[Session]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def load_proven(path: Path, *, release: Release, variant: Variant, load: Load) -> Session:
    """A session that has proven itself on `release.schema`.

    (1) the very bytes that are loaded are the variant's: parsers see only proven ones; (2) `load` checks and
    builds; (3) a warm-up batch gives outputs of the right shapes, all finite.

    Raises:
        TrustError: (1) failed, or `load` found a model that must not be parsed.
        FaultError: the file cannot be read, or (2) or (3) failed.
    """
    session = load(read_proven(path, variant))  # (1), (2)
    try:
        warm_up(session, release.schema)  # (3)
    except BaseException:
        session.close()
        raise
    return session


def _retire(place: _Place | None) -> None:
    if place is not None:
        place.retired = True
        place.close_if_done()
