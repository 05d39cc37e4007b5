"""Shows a challenger what the champion has answered, behind its back and within the challenger's budget.

The champion never waits: it has answered before the challenger is asked, which has a thread and a process of its own.
The one exception is wanted: with `Challenge.split` some inputs are the challenger's to answer, and then it is asked in
the champion's turn, with the champion's answer at hand should it have none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

from edge.inference.challenger import Challenger
from edge.inference.health import peak_mib
from edge.inference.host import ModelHost
from edge.pipelines.answer import Answer, Interpret
from edge.pipelines.budget import Budget
from edge.pipelines.comparison import Comparison, Pair, Side
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import Outcome, read
from shared.clock import Clock
from shared.messages import ShadowReport

QUEUE = 2
"""Batches that the challenger has in hand or waiting; a third is spared it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A batch that the champion has answered."""

    samples: Sequence[Sample]
    champion: str
    side: Side

    @classmethod
    def of(cls, outcome: Outcome, took_ms: float) -> Seen:
        """What the pipeline's own turn gave."""
        return cls(
            samples=outcome.samples, champion=outcome.release, side=Side(answers=outcome.answers, took_ms=took_ms)
        )

    def part(self, wanted: Sequence[bool]) -> Seen:
        """Only the inputs for which `wanted` is true."""
        kept = [index for index, keep in enumerate(wanted) if keep]
        answers = [self.side.answers[index] for index in kept]
        return Seen(
            samples=[self.samples[index] for index in kept],
            champion=self.champion,
            side=Side(answers=answers, took_ms=self.side.took_ms),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a challenger said of a batch."""

    seen: Seen
    challenger: Challenger
    side: Side
    fault: str = ""


class Shadow:
    """One pipeline's view of whatever runs in the shadow of its model. Belongs to the event loop but for `ask`."""

    def __init__(
        self,
        *,
        pipeline: str,
        model: str,
        host: ModelHost,
        interpret: Interpret,
        clock: Clock,
        cores: int = 1,
        temperature: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._model = model
        self._host = host
        self._interpret = interpret
        self._clock = clock
        self._temperature = temperature
        self._budget = Budget(cores=cores)
        self._comparison = Comparison(pipeline=pipeline, model=model)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"shadow-{pipeline}")
        self._asked: set[asyncio.Task[None]] = set()

    def show(self, seen: Seen) -> None:
        """Have the challenger look at a batch, if there is one and it may."""
        challenger = self._host.challenger_of(self._model)
        if challenger is None or not seen.samples:
            return
        allowed = self._budget.allows(challenger.terms.share, at=self._clock.monotonic())
        if not allowed or len(self._asked) >= QUEUE:
            pair = Pair(seen.champion, challenger.release)
            self._comparison.skipped(pair, len(seen.samples), at=self._clock.now())
            return
        task = asyncio.create_task(self._take(seen), name=f"shadow-{self._model}")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    def ask(self, challenger: Challenger, seen: Seen) -> Taken:
        """The challenger's answers; blocks, and belongs into a thread."""
        began = self._clock.monotonic()
        answers, _, fault = read(challenger.served, seen.samples, self._interpret)
        took_ms = (self._clock.monotonic() - began) * 1e3
        return Taken(seen=seen, challenger=challenger, side=Side(answers=answers, took_ms=took_ms), fault=fault)

    def account(self, taken: Taken) -> None:
        """Count what the challenger said, and what that cost."""
        seen, challenger = taken.seen, taken.challenger
        self._budget.spend(taken.side.took_ms / 1e3)
        pair = Pair(seen.champion, challenger.release)
        names = [sample.id for sample in seen.samples]
        self._comparison.answered(pair, names, champion=seen.side, challenger=taken.side, at=self._clock.now())
        if any(answer is not None for answer in taken.side.answers):
            challenger.answered()
        elif any(answer is not None for answer in seen.side.answers):
            challenger.failed(taken.fault or "its answers are not finite")

    def labelled(self, sample: str, label: int) -> bool:
        """Hold a label against both predictions."""
        return self._comparison.labelled(sample, label, at=self._clock.now())

    def flush(self, *, at: float) -> list[ShadowReport]:
        """What was gathered, by pair."""
        challenger, served = self._host.challenger_of(self._model), self._host.serving(self._model)
        if challenger is not None and served is not None:
            pair = Pair(served.release.id, challenger.release)
            self._comparison.measured(pair, peak_mib(challenger.served.session))
        return self._comparison.flush(at=at, temperature_c=self._temperature())

    async def close(self) -> None:
        """Let the challenger finish what it has in hand."""
        if self._asked:
            await asyncio.wait(self._asked)
        self._thread.shutdown(wait=False)

    async def _take(self, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        with self._host.shadow(self._model) as challenger:
            if challenger is None:
                return
            work = loop.run_in_executor(self._thread, self.ask, challenger, seen)
            try:
                self.account(await asyncio.shield(work))
            except asyncio.CancelledError:
                await asyncio.wait([work])  # its thread still uses the session
                raise


def is_challengers(sample: str, split: float) -> bool:
    """Whether an input is the challenger's to answer: the same ones on every run, about a share `split` of all."""
    return int.from_bytes(sha256(sample.encode()).digest()[:8], "big") < split * 2.0**64


def merged(champion: Sequence[Answer | None], taken: Taken, mask: Sequence[bool]) -> list[tuple[Answer | None, bool]]:
    """The answers that count, and whether each is the challenger's; where it has none, the champion's stands.

    Args:
        champion: its answers to the whole batch.
        taken: what the challenger said of the inputs for which `mask` is true.
        mask: which those are.
    """
    its = iter(taken.side.answers)
    answers: list[tuple[Answer | None, bool]] = []
    for mine, asked in zip(champion, mask, strict=True):
        other = next(its) if asked else None
        answers.append((mine, False) if other is None else (other, True))
    return answers
