"""One source feeding one model, and what it tells the coordinator about it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from edge.drift.window import DriftSettings, DriftWindow
from edge.inference.challenger import Challenger
from edge.inference.host import ModelHost, Served
from edge.inference.kinds import together
from edge.inference.turns import Caller
from edge.inference.work import to_its_end
from edge.pipelines.accuracy import Bucket, LiveAccuracy
from edge.pipelines.answer import Result
from edge.pipelines.hooks import Emit, Hooks
from edge.pipelines.observing import observe
from edge.pipelines.order import DEPTH, Order, Place
from edge.pipelines.reporter import Reporter
from edge.pipelines.shadow import Shadow
from edge.pipelines.sources.port import Drop, Sample, Source
from edge.pipelines.split import Given, Turn, take_turn
from edge.pipelines.state import Health, State
from shared.clock import Clock
from shared.errors import HinterlandError
from shared.messages import DriftReport, Pace, ShadowReport, Telemetry
from shared.topics import Up

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """How one pipeline works."""

    name: str
    model: str
    batch: int = 16
    """Most inputs classified at once when several are ready; nobody waits to fill it. Detectors take one."""

    telemetry_s: float = 10.0
    """Seconds a telemetry window lasts."""

    drift: DriftSettings = field(default_factory=DriftSettings)
    priority: int = 1
    """Turns with the model for each turn of another pipeline that has 1, while both wait."""

    cores: int = 1
    """Threads that a batch keeps busy; a challenger's budget is counted in them."""


class Pipeline:
    """Runs until its source ends or it is cancelled. All methods belong to one event loop."""

    def __init__(
        self,
        settings: PipelineSettings,
        *,
        source: Source,
        host: ModelHost,
        emit: Emit,
        clock: Clock,
        hooks: Hooks | None = None,
    ) -> None:
        self.settings = settings
        self.state = State.IDLE
        self.reason = ""
        """Why the pipeline failed."""

        self.health: dict[str, Health] = {}
        """By release."""

        self._caller = Caller(name=settings.name, priority=settings.priority)
        self._source = source
        self._host = host
        self._emit = emit
        self._clock = clock
        self._hooks = hooks or Hooks()
        self._threads = ThreadPoolExecutor(max_workers=DEPTH, thread_name_prefix=f"infer-{settings.name}")
        self._order = Order()
        self._accuracy = LiveAccuracy()
        self._shadow = Shadow(
            pipeline=settings.name,
            model=settings.model,
            host=host,
            interpret=self._hooks.interpret,
            clock=clock,
            cores=settings.cores,
            temperature=self._hooks.temperature,
        )
        self._reporter = Reporter(
            pipeline=settings.name,
            model=settings.model,
            accuracy=self._accuracy,
            labels_held=self._hooks.labels_held,
            since=clock.now(),
        )
        self._drift = DriftWindow(pipeline=settings.name, model=settings.model, settings=settings.drift)
        self._release = ""
        self._asked = ""  # the release that served when the source was last asked
        self._phase = ""  # of what it gave last
        self._received = 0
        self._dropped: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """As its owner calls it."""
        return self.settings.name

    @property
    def busy_since(self) -> float | None:
        """Monotonic seconds since when inputs are with a model; None while it waits for inputs, or for a model."""
        return self._order.since

    @property
    def release(self) -> str:
        """What answered last; empty before the first answer."""
        return self._release

    @property
    def fault(self) -> str:
        """Why the newest failing batch of this release failed."""
        return self.health[self._release].fault if self._release in self.health else ""

    @property
    def came(self) -> tuple[int, Mapping[str, int]]:
        """Inputs that have come since the start, and those given up, by `Drop`."""
        return self._source.received, self._source.dropped

    @property
    def recent_ms(self) -> Sequence[float]:
        """Milliseconds from ready to answered of the last inputs."""
        return self._reporter.recent_ms

    async def run(self) -> None:
        """Infer until the source ends; report as time passes, and once more at the end."""
        reporting = asyncio.create_task(self._report_forever(), name=f"report-{self.settings.name}")
        under_way: deque[asyncio.Task[None]] = deque()
        try:
            while (samples := await self._take()) is not None:
                if samples:
                    before = under_way[-1] if under_way else None
                    under_way.append(asyncio.create_task(self._carry(samples, before)))
                while len(under_way) >= DEPTH or (under_way and under_way[0].done()):
                    await under_way.popleft()
            while under_way:
                await under_way.popleft()
            self.state = State.ENDED
        except HinterlandError as error:
            await asyncio.gather(*under_way, return_exceptions=True)  # what came before the fault counts
            self.state, self.reason = State.FAILED, str(error)
            log.error("pipeline %s stopped: %s", self.settings.name, error)  # noqa: TRY400 - no bug of ours to trace
        finally:
            for each in (*under_way, reporting):
                each.cancel()
            await asyncio.gather(*under_way, reporting, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Stop the source and report what is left; `run` does so by itself."""
        if self.state is not State.FAILED:
            self.state = State.ENDED
        await self._source.close()
        await self._shadow.close()
        self._hear_source()
        self.flush()
        self._threads.shutdown(wait=False)

    async def turn(self) -> bool:
        """Wait for a model, take what is ready, answer it; False when the source has ended."""
        samples = await self._take()
        if samples:
            await self._carry(samples, None)
        return samples is not None

    def label(self, sample: str, label: int) -> bool:
        """Count a class index against the prediction made for `sample`; False when that is not known here."""
        self._shadow.labelled(sample, label)
        return self._accuracy.labelled(sample, label)

    def pace(self, share: float, *, reason: str) -> None:
        """Work on at most this share of a camera's frames; sensors' windows cost too little to be left out."""
        if self._hooks.thinning is not None:
            self._hooks.thinning.limit = share
            self._reporter.paced(Pace(at=self._clock.now(), share=share, reason=reason))

    def flush(self) -> None:
        """Report everything gathered so far."""
        at = self._clock.now()
        self._flush_telemetry(at)
        self._send(Up.DRIFT, self._drift.flush(at=at))

    def tick(self) -> None:
        """End the telemetry window, and the drift window if its time is over."""
        at = self._clock.now()
        self._hear_source()
        self._flush_telemetry(at)
        self._send(Up.DRIFT, self._drift.tick(at=at))

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.telemetry_s)
            self.tick()

    async def _take(self) -> list[Sample] | None:
        """What is ready, waiting for it; nothing when a model had to be waited for, None when the source has ended."""
        served = self._host.serving(self.settings.model)
        if served is None:
            self.state = State.WAITING
            await self._host.arrival(self.settings.model)
            return []
        self.state = State.RUNNING
        self._asked = served.release.id
        self._source.fit(served.schema)
        samples = await self._source.take(self.settings.batch if together(served.schema) else 1)
        if not samples:
            return None
        self._phase = samples[0].phase
        return samples

    async def _carry(self, samples: Sequence[Sample], before: asyncio.Task[None] | None) -> None:
        """Answer `samples` and account for them, after those `before`."""
        turn = await self._answer(samples)
        try:
            if before is not None and not before.done():
                await asyncio.wait([before])
        finally:  # what was answered counts, also of a pipeline that is stopped meanwhile
            self._account(turn)
        self._shadow.show(turn.left)

    async def _answer(self, samples: Sequence[Sample]) -> Turn:
        """Infer with whatever serves now; samples in hand wait should the model have been withdrawn."""
        loop, model = asyncio.get_running_loop(), self.settings.model
        while True:
            with self._host.lease(model, by=self._caller) as served, self._host.shadow(model) as challenger:
                if served is not None:
                    with self._order.place(at=self._clock.monotonic()) as place:
                        work = loop.run_in_executor(self._threads, self._work, served, challenger, samples, place)
                        return await to_its_end(work, late=self._account)
            self.state = State.WAITING
            try:
                await self._host.arrival(model)
            except asyncio.CancelledError:
                stopped = {Drop.STOPPED.value: len(samples)}
                self._reporter.came(Bucket(self._asked, self._phase), received=0, dropped=stopped, stalls=())
                raise

    def _work(self, served: Served, challenger: Challenger | None, samples: Sequence[Sample], place: Place) -> Turn:
        """A thread's part."""
        try:
            turn = take_turn(
                served,
                challenger,
                samples,
                shadow=self._shadow,
                hooks=self._hooks,
                clock=self._clock,
                place=place,
            )
            place.wait()  # stages remember what came before
            if self._hooks.stages:
                turn = replace(turn, given=[self._staged(given) for given in turn.given])
            self._hand_on(turn)
        finally:
            place.leave()
        return turn

    def _hand_on(self, turn: Turn) -> None:
        for given in turn.given:
            if given.answer is not None:
                result = Result(id=given.sample.id, release=given.release, at=given.sample.at, answer=given.answer)
                for sink in self._hooks.sinks:
                    sink.put(given.sample, result)

    def _staged(self, given: Given) -> Given:
        answer = given.answer
        if answer is not None:
            for stage in self._hooks.stages:
                answer = stage(given.sample, answer)
        return given._replace(answer=answer)

    def _account(self, turn: Turn) -> None:
        outcome = turn.outcome
        if outcome.release != self._release:
            self._begin_release(outcome.release)
        self._hear_source()
        health = self.health[outcome.release]
        health.fault = outcome.fault or health.fault
        if turn.taken is not None:
            self._shadow.account(turn.taken)
        for sample, release, answer in turn.given:
            bucket, health = Bucket(release, sample.phase), self.health.setdefault(release, Health())
            if self._hooks.remember is not None:
                self._hooks.remember(sample.id, sample.x)
            if answer is None:
                health.errors += 1
                self._reporter.failed(bucket)
                continue
            health.processed += 1
            latency_ms = (turn.done - sample.ready) * 1e3
            self._reporter.inferred(bucket, latency_ms=latency_ms, labels=answer.labels)
            if self._hooks.thinning is not None:
                self._hooks.thinning.answered(latency_ms, at=turn.done)
            if answer.index >= 0:
                self._accuracy.predicted(sample.id, index=answer.index, bucket=bucket)
        self._send(Up.DRIFT, observe(self._drift, outcome, ticks=turn.done, at=self._clock.now()))

    def _begin_release(self, release: str) -> None:
        """End the windows of the release before, so that none spans two."""
        self.flush()
        self._release = release
        self.health.setdefault(release, Health())
        if self._hooks.on_release is not None:
            self._hooks.on_release(release)

    def _hear_source(self) -> None:
        """Count what came into the source, and what was given up there, since the last time."""
        release = self._release or self._asked
        if not release:  # so nobody has asked it for anything
            return
        received, total = self._source.received, Counter(self._source.dropped)
        new, dropped, stalls = received - self._received, total - self._dropped, self._source.stalls()
        if new or dropped or stalls:
            self._received, self._dropped = received, total
            self._reporter.came(Bucket(release, self._phase), received=new, dropped=dropped, stalls=stalls)

    def _flush_telemetry(self, at: float) -> None:
        self._send(Up.TELEMETRY, self._reporter.flush(at=at))
        self._send(Up.SHADOW, self._shadow.flush(at=at))

    def _send(self, channel: Up, messages: Iterable[Telemetry | DriftReport | ShadowReport]) -> None:
        for message in messages:
            try:
                self._emit(channel, message)
            except HinterlandError as error:
                log.warning("pipeline %s: %s not reported: %s", self.settings.name, channel, error)
