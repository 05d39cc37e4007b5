"""Where a request meets a model: one at a time, from the release that serves, and after the pipelines.

Pipelines come first in two ways. Requests are answered one model run after the other, so that an input of a pipeline
waits for one such run at most; and while any pipeline runs, all requests together get no more than `share` of one
core's time: what comes beyond waits, until `answer_s` is over.

A request keeps the release it began with: a swap in its middle neither fails it nor mixes two releases in one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.drift.features import features_for
from edge.drift.window import DriftSettings, Observation
from edge.inference.host import ModelHost, Served
from edge.inference.kinds import together
from edge.inference.turns import Caller
from edge.inference.warmup import check_shapes
from edge.inference.work import to_its_end
from edge.pipelines.answer import Answer, Interpret
from edge.pipelines.budget import Budget
from edge.pipelines.hooks import Emit
from edge.pipelines.observing import observation
from edge.pipelines.tasks.interpret import Interpreter, prepare
from edge.serving.account import Account
from edge.serving.answers import Answered, choose_outputs
from edge.serving.describe import INPUT, name_outputs, version_of
from edge.serving.requests import Asked
from shared.clock import Clock
from shared.errors import ContractError, FaultError

PAUSE_S = 0.005
"""Between two looks whether the budget has filled up."""

BATCH = 16
"""Inputs of a classifier in one run: a pipeline's own batch, so that it waits for a caller as long as for itself."""

_CALLER = Caller(name="")  # pipelines have names


class UnknownModelError(Exception):
    """No such model, or no such version of it, serves."""


class LateError(Exception):
    """The answer did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What requests may have."""

    models: Sequence[str] = ()
    """Lines that may be asked; empty for all."""

    share: float = 0.5
    rows: int = 64
    answer_s: float = 10.0
    cores: int = 1
    """Threads that a run keeps busy."""

    drift: DriftSettings = field(default_factory=DriftSettings)
    telemetry_s: float = 10.0


class _Run(NamedTuple):
    """What one request came to."""

    outputs: dict[str, NDArray[Any]]
    answers: list[Answer | None]
    seen: Observation | None


class Desk:
    """All methods belong to the agent's loop, but for `serving` and `models`, which any thread may ask."""

    def __init__(
        self, host: ModelHost, terms: Terms, *, emit: Emit, clock: Clock, pipelines_run: Callable[[], bool]
    ) -> None:
        """Take `pipelines_run`, which says whether any pipeline runs now: only then the share is a bound."""
        self._host = host
        self._terms = terms
        self._emit = emit
        self._clock = clock
        self._pipelines_run = pipelines_run
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serving")
        self._turn = asyncio.Lock()
        self._budget = Budget(cores=terms.cores)
        self._interpret: Interpret = Interpreter(threshold=0.5)
        self.accounts: dict[str, Account] = {}
        """By model line; those that were asked."""

    @property
    def models(self) -> list[str]:
        """Lines that can be asked now."""
        return [each for each in self._host.models if self._admits(each)]

    @property
    def ready(self) -> bool:
        """Whether every line that its owner names serves; without names, whether any does."""
        wanted = self._terms.models
        return all(self._host.serving(each) for each in wanted) if wanted else bool(self.models)

    def serving(self, model: str, version: str = "") -> Served:
        """What answers for `model` now.

        Raises:
            UnknownModelError: nothing does, or another version.
        """
        served = self._host.serving(model) if self._admits(model) else None
        if served is None:
            known = ", ".join(self.models) or "none"
            raise UnknownModelError(f"no model {model[:80]!r} serves here; there are: {known}")
        if version not in ("", version_of(served)):
            raise UnknownModelError(
                f"version {version[:20]!r} of {model} does not serve here; {version_of(served)} does"
            )
        return served

    async def run(self) -> None:
        """Report until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._terms.telemetry_s)
                for account in self.accounts.values():
                    account.tick()
        finally:
            for account in self.accounts.values():
                account.flush()
            self._thread.shutdown(wait=False)

    async def infer(self, model: str, asked: Asked, *, version: str = "") -> Answered:
        """Answer a request.

        Raises:
            UnknownModelError: the model does not serve.
            ContractError: the inputs do not fit it.
            LateError: there was no answer in time.
            FaultError: the model failed.
        """
        arrived = self._clock.monotonic()
        served = self.serving(model, version)
        batch = self._batch(asked, served)
        try:
            async with asyncio.timeout(self._terms.answer_s), self._turn:
                with self._host.lease(model, by=_CALLER) as leased:
                    if leased is None:
                        raise UnknownModelError(f"{model} serves no longer")
                    batch = self._batch(asked, leased)  # another release may take other inputs
                    return await self._answer(model, leased, asked, batch, arrived)
        except TimeoutError as error:
            self._account(model).late(served.release.id, inputs=len(batch))
            raise LateError(f"no answer within {self._terms.answer_s:g} s; this device is busy") from error

    async def _answer(
        self, model: str, served: Served, asked: Asked, batch: NDArray[np.float32], arrived: float
    ) -> Answered:
        account, release = self._account(model), served.release.id
        try:
            run = await self._run(served, batch, raw=asked.raw)
        except FaultError:
            account.failed(release, inputs=len(batch))
            raise
        latency_ms = (self._clock.monotonic() - arrived) * 1e3
        account.answered(release, run.answers, latency_ms=latency_ms, seen=run.seen)
        if None in run.answers:
            raise FaultError("the model's answer is not finite")
        outputs = choose_outputs(asked, run.outputs, served.schema.labels)
        return Answered(model=model, version=version_of(served), id=asked.id, outputs=outputs)

    async def _run(self, served: Served, batch: NDArray[np.float32], *, raw: bool) -> _Run:
        step = BATCH if together(served.schema) else 1
        loop, parts = asyncio.get_running_loop(), []
        for start in range(0, len(batch), step):
            await self._afford()
            began = self._clock.monotonic()
            infer = partial(_infer, served, batch[start : start + step], raw=raw)
            parts.append(await to_its_end(loop.run_in_executor(self._thread, infer)))
            if self._pipelines_run():
                self._budget.spend(self._clock.monotonic() - began)
        return await to_its_end(loop.run_in_executor(self._thread, self._read, served, batch, parts, raw))

    async def _afford(self) -> None:
        """Wait until the pipelines have had their share."""
        while self._pipelines_run() and not self._budget.allows(self._terms.share, at=self._clock.monotonic()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(PAUSE_S)

    def _read(self, served: Served, batch: NDArray[np.float32], parts: list[list[Any]], raw: bool) -> _Run:
        outputs = [np.concatenate(each) if len(parts) > 1 else each[0] for each in zip(*parts, strict=True)]
        answers = self._interpret(outputs, served.schema, batch if raw else prepare(batch, served.schema))
        good = [each for each in answers if each is not None]
        seen = None
        if good and not raw:
            kept = batch if len(good) == len(answers) else batch[[each is not None for each in answers]]
            seen = observation(served.release.id, features_for(served.schema)(kept), answers)
        return _Run(name_outputs(served.schema, outputs), answers, seen)

    def _batch(self, asked: Asked, served: Served) -> NDArray[np.float32]:
        """The inputs as one batch [n, *input_shape] of 32-bit floats."""
        if [each.name for each in asked.inputs] != [INPUT]:
            names = ", ".join(repr(each.name) for each in asked.inputs)
            raise ContractError(f"the model has one input, {INPUT!r}; the request has {names}")
        values, shape = asked.inputs[0].values, list(served.schema.input_shape)
        if list(values.shape[1:]) != shape:
            raise ContractError(f"{INPUT!r} is of shape {list(values.shape)}; the model takes {[-1, *shape]}")
        if not 0 < len(values) <= self._terms.rows:
            raise ContractError(f"a request has 1 to {self._terms.rows} inputs, this one has {len(values)}")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values, np.float32)

    def _account(self, model: str) -> Account:
        if model not in self.accounts:
            self.accounts[model] = Account(model=model, emit=self._emit, drift=self._terms.drift, clock=self._clock)
        return self.accounts[model]

    def _admits(self, model: str) -> bool:
        return not self._terms.models or model in self._terms.models


def _infer(served: Served, batch: NDArray[np.float32], *, raw: bool) -> list[NDArray[Any]]:
    outputs = served.session.run(batch if raw else prepare(batch, served.schema))
    check_shapes(outputs, schema=served.schema, batch=len(batch))
    return outputs
