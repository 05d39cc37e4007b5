"""The models that serve, and the swap from one release to the next.

A swap loads the new model beside the old one, tries it, and changes which of them the next lease gets.
Inputs in work keep the session they started with, so none is dropped and each result is from one release.
Beside what serves a challenger may run, which never takes its place: a promotion loads it anew.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edge.inference.challenger import Challenger
from edge.inference.health import failing
from edge.inference.kinds import together
from edge.inference.runtime import Loads, Session, way
from edge.inference.served import Served
from edge.inference.sharing import BATCH, SharedSession
from edge.inference.turns import Caller
from edge.inference.warmup import warm_up
from shared.bundle import Challenge, Release, Variant
from shared.trust import read_proven

__all__ = ["ModelHost", "Served", "load_proven"]


class _Place:
    """A served release and how many inputs are in work on it."""

    __slots__ = ("_seen", "_shared", "retired", "served", "users")

    def __init__(self, served: Served) -> None:
        self.served = served
        self._shared = SharedSession(served.session, most=BATCH if together(served.schema) else 1)
        self._seen: dict[Caller, Served] = {}
        self.users = 0
        self.retired = False

    @contextmanager
    def held(self) -> Iterator[None]:
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.close_if_done()

    def seen_by(self, caller: Caller) -> Served:
        """What is served, its session in turns with all others who see it so."""
        if caller not in self._seen:
            self._seen[caller] = replace(self.served, session=self._shared.seen_by(caller))
        return self._seen[caller]

    def close_if_done(self) -> None:
        if self.retired and self.users == 0:
            self.served.session.close()


class _Shadow(NamedTuple):
    """A challenger and its place."""

    place: _Place
    challenger: Challenger


class ModelHost:
    """Holds one serving session per model line. All methods belong to one event loop."""

    def __init__(self, load: Loads, *, challenge: Loads | None = None) -> None:
        """Take what loads models; `challenge` loads those that run in the shadow, with less priority for example."""
        self._load = load
        self._load_challenger = challenge or load
        self._shadows: dict[str, _Shadow] = {}
        self._places: dict[str, _Place] = {}
        self._loading = asyncio.Lock()  # one at a time: a swap already holds two models in memory
        self._arrivals: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def serving(self, model: str) -> Served | None:
        """What serves `model` now; to infer with it, take a lease."""
        place = self._places.get(model)
        return place.served if place else None

    @property
    def models(self) -> list[str]:
        """Lines that something serves now."""
        return sorted(self._places)

    @contextmanager
    def lease(self, model: str, *, by: Caller | None = None) -> Iterator[Served | None]:
        """Hold what serves `model` now: its session stays open until the lease ends.

        Callers that say who they are take fair turns, and share runs of the model where that is faster.
        """
        place = self._places.get(model)
        if place is None:
            yield None
            return
        with place.held():
            yield place.seen_by(by) if by else place.served

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

    @contextmanager
    def shadow(self, model: str) -> Iterator[Challenger | None]:
        """Hold what runs in the shadow of `model` now, as `lease` holds what serves."""
        shadow = self._shadows.get(model)
        if shadow is None:
            yield None
            return
        with shadow.place.held():
            yield shadow.challenger

    async def challenge(self, model: str, release: Release, variant: Variant, path: Path, terms: Challenge) -> None:
        """Run `variant` of `release` in the shadow of what serves `model`; proven and tried as in `activate`.

        Raises:
            TrustError, FaultError: as `activate`; nothing runs in the shadow then.
        """
        await self.unchallenge(model)
        async with self._loading:
            session = await _kept(
                asyncio.to_thread(load_proven, path, release=release, variant=variant, load=self._load_challenger)
            )
            served = Served(release=release, variant=variant, session=session)
            self._shadows[model] = _Shadow(_Place(served), Challenger(served, terms))

    async def unchallenge(self, model: str) -> None:
        """Run nothing in the shadow of `model` from the next input on."""
        async with self._loading:
            shadow = self._shadows.pop(model, None)
            _retire(shadow.place if shadow else None)

    def retune(self, model: str, terms: Challenge) -> None:
        """Other terms for what runs in the shadow; the release stays."""
        if model in self._shadows:
            self._shadows[model].challenger.terms = terms

    def challenger(self, model: str) -> str:
        """Release that runs in the shadow of `model`; empty for none."""
        return self._shadows[model].challenger.release if model in self._shadows else ""

    def challenger_of(self, model: str) -> Challenger | None:
        """What runs in the shadow of `model` now; to infer with it, hold it with `shadow`."""
        return self._shadows[model].challenger if model in self._shadows else None

    def ailing(self, model: str) -> str:
        """Why what serves `model` should serve no longer; empty while it is well."""
        place = self._places.get(model)
        return failing(place.served.session) if place else ""

    def challenger_ailing(self, model: str) -> str:
        """Why what runs in the shadow of `model` should not; empty while it is well."""
        return self._shadows[model].challenger.ailing if model in self._shadows else ""

    async def close(self) -> None:
        """Serve nothing any more; models in processes of their own end."""
        for model in list(self._shadows):
            await self.unchallenge(model)
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


def load_proven(path: Path, *, release: Release, variant: Variant, load: Loads) -> Session:
    """A session that has proven itself on `release.schema`.

    (1) the very bytes that are loaded are the variant's: parsers see only proven ones; (2) `load` checks and
    builds; (3) a warm-up batch gives outputs of the right shapes, all finite.

    Raises:
        TrustError: (1) failed, or `load` found a model that must not be parsed.
        FaultError: the file cannot be read, or (2) or (3) failed.
    """
    session = way(load, variant.runtime)(read_proven(path, variant))  # (1), (2)
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
