"""The process of one federated run, from its spec to its result.

    gather → statistics → rounds → export → calibrate → quantise → judge → result.json

It may be killed anywhere: the next one goes on after the last committed round and repeats the phases after the
rounds, which are functions of the weights and of the devices' data.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from cloud.models.calibrate import activations
from cloud.models.gates import judge
from cloud.models.onnx_file import infer_shapes, load
from cloud.models.optimise import calibration_graph, quantise
from cloud.models.variants import FLOAT, INT8
from cloud.training.asking import Roster
from cloud.training.buffered import BufferedTraining
from cloud.training.channel import PATIENCE_S, Channel, naming_errors
from cloud.training.control import FlowerControl, SuperLinkAddress
from cloud.training.events import (
    AttemptStarted,
    Phase,
    PhaseStarted,
    RoundFinished,
    RunFailed,
    RunFinished,
    StatisticsTaken,
)
from cloud.training.ledger import RESULT, Checkpoint, RunLedger
from cloud.training.phases import CHAMPION, Asking, calibrate, judge_files, merge_moments, take_statistics
from cloud.training.private.strategy import run_rounds, strategy_of
from cloud.training.quarantine import Conduct
from cloud.training.result import WEIGHTS, Artefact, RunResult, read_result
from cloud.training.spec import RunSpec, read_spec
from cloud.training.strategy import RunStrategy
from cloud.training.tree_terms import check_trees
from cloud.training.trees import TreesStrategy
from shared.clock import Clock, SystemClock
from shared.errors import ContractError, HinterlandError, RefusedError, TransportError
from shared.federation import Condition, FileTally
from shared.ids import sha256
from shared.task import TaskAdapter, Weights
from shared.task_trees import GrowsTrees
from shared.tasks import adapter as find_adapter
from shared.tasks.weights import pack_weights, unpack_weights, weights_digest

LOCK = "job.lock"

AWAY_POLL_S = 0.5
"""Between two tries to open a run at a SuperLink that is away."""


MOST_RELEASED_BYTES = (2 << 30) - (1 << 20)
"""Weights that one ONNX file holds: a protobuf message ends at 2 GiB, and the graph needs some of it."""


def check_releasable(weights: Weights) -> None:
    """See before the first round whether the run can end in a file.

    Raises:
        RefusedError: no file holds this model.
    """
    size = sum(values.nbytes for values in weights.values())
    if size > MOST_RELEASED_BYTES:
        raise RefusedError(
            f"a model of {size / 1e9:.2f} GB cannot be released: an ONNX file ends at 2 GiB",
            hint="Train a smaller model; nothing was trained yet.",
        )


def run_job(directory: Path, superlink: SuperLinkAddress, *, clock: Clock | None = None) -> RunResult:
    """Do what is left of the run in `directory`; returns at once if it is finished.

    Raises:
        ContractError: the run's spec or ledger is broken, or the task and the weights do not fit.
        RefusedError: another job works on this run, or there is no such task.
        TransportError: the SuperLink or too few devices answered; another attempt may do.
    """
    clock = clock or SystemClock()
    spec, ledger = read_spec(directory), RunLedger(directory)
    with _only_one(directory):
        done = read_result(directory)
        if done is not None:
            return done
        try:
            return _attempt(spec, ledger, superlink, clock)
        except Exception as error:
            ledger.append(_failure(error, at=clock.now()))
            raise


def _attempt(spec: RunSpec, ledger: RunLedger, superlink: SuperLinkAddress, clock: Clock) -> RunResult:
    _open_channel(ledger, superlink, clock)
    with naming_errors(), Channel(superlink) as channel:
        committed = ledger.last_committed()
        first = committed[0].round + 1 if committed else 1
        ledger.append(AttemptStarted(at=clock.now(), flower_run=channel.flower_run, from_round=first))
        results: list[RunResult] = []
        app = ServerApp()

        @app.main()
        def main(grid: Grid, context: Context) -> None:
            results.append(_Conductor(spec, ledger, grid, clock).conduct(channel))

        app(grid=channel.grid, context=channel.context)
    _close(superlink, channel.flower_run)
    return results[0]


def _close(superlink: SuperLinkAddress, flower_run: int) -> None:
    """Free what the SuperLink keeps of a run that is over; if it is away, the next attempt does."""
    control = FlowerControl(superlink)
    try:
        with suppress(TransportError):
            control.stop_run(flower_run)
    finally:
        control.close()


def _failure(error: Exception, *, at: float) -> RunFailed:
    if not isinstance(error, HinterlandError):  # a fault of ours, which the next attempt meets again
        return RunFailed(at=at, reason=f"{type(error).__name__}: {error}", hint="", retry=False)
    return RunFailed(at=at, reason=str(error), hint=error.hint, retry=isinstance(error, TransportError))


def _open_channel(ledger: RunLedger, superlink: SuperLinkAddress, clock: Clock) -> None:
    """Close what an attempt before left open, so that no node works for it any more, and open a new run.

    A SuperLink that is away is waited for: giving up would cost the run one of its attempts.
    """
    deadline = clock.monotonic() + PATIENCE_S
    while True:
        control = FlowerControl(superlink)
        try:
            for event in ledger.events():
                if isinstance(event, AttemptStarted):
                    control.stop_run(event.flower_run)
            control.start_run()
        except TransportError:
            if clock.monotonic() > deadline:
                raise
            time.sleep(AWAY_POLL_S)
        else:
            return
        finally:
            control.close()


class _Conductor:
    """The phases of one attempt."""

    def __init__(self, spec: RunSpec, ledger: RunLedger, grid: Grid, clock: Clock) -> None:
        self._spec = spec
        self._ledger = ledger
        self._clock = clock
        self._started = clock.monotonic()
        self._adapter: TaskAdapter = find_adapter(spec.task)
        if isinstance(self._adapter, GrowsTrees):
            check_trees(spec)
        roster = Roster(
            spec.members,
            task=spec.task,
            ttl_s=spec.round_timeout_s + 5.0,
            run=spec.run,
            model=spec.model,
            purpose=spec.purpose,
        )
        self._asking = Asking(grid=grid, roster=roster, spec=spec, ledger=ledger, clock=clock)

    def conduct(self, channel: Channel) -> RunResult:
        self._gather(channel)
        rounds, registered = self._prepare()
        weights = rounds()
        files = self._files(weights, registered)
        return self._judge(weights, files, registered)

    def _gather(self, channel: Channel) -> None:
        """Wait for the members to be online: all of them, or after a while a quorum."""
        self._enter(Phase.GATHER)
        nodes = {member.node for member in self._spec.members}
        deadline = self._clock.monotonic() + self._spec.gather_timeout_s
        while (missing := nodes - channel.online()) and self._clock.monotonic() < deadline:
            time.sleep(0.2)
        if len(nodes) - len(missing) < self._spec.min_devices:
            raise TransportError(
                f"{len(nodes) - len(missing)} of {len(nodes)} devices are online, {self._spec.min_devices} are needed",
                hint="Start the devices, or lower min_devices.",
            )

    def _prepare(self) -> tuple[Callable[[], Weights], dict[str, int]]:
        """What trains, and who takes part. Training has a copy of its own of the weights: whoever kept these would keep
        a second model in memory for as long as the run takes.
        """
        begin, registered = self._ledger.last_committed() or self._begin()
        return self._rounds(begin, registered), registered

    def _begin(self) -> tuple[Checkpoint, dict[str, int]]:
        """Register who takes part, and make the weights that round 1 begins with."""
        self._enter(Phase.STATISTICS)
        answers = take_statistics(self._asking, self._asking.roster.members, self._adapter)
        weights = (
            unpack_weights(_read(Path(self._spec.start)))
            if self._spec.start
            else self._adapter.initial(seed=self._spec.seed, moments=merge_moments(answers.values()))
        )
        check_releasable(weights)
        begin = Checkpoint(0, weights, {})
        self._ledger.write_checkpoint(begin)
        registered = {device: answer.training for device, answer in answers.items()}
        self._ledger.append(
            StatisticsTaken(
                at=self._clock.now(),
                registered=registered,
                holdout={device: answer.holdout for device, answer in answers.items()},
                digest=weights_digest(weights),
                conditions={device: answer.condition or Condition() for device, answer in answers.items()},
            )
        )
        return begin, registered

    def _rounds(self, begin: Checkpoint, registered: dict[str, int]) -> Callable[[], Weights]:
        parts: dict[str, Any] = {
            "roster": self._asking.roster,
            "registered": registered,
            "begin": begin,
            "ledger": self._ledger,
            "clock": self._clock,
        }
        return self._buffered(parts) if self._spec.buffer.size else self._in_rounds(parts, done=begin.round)

    def _buffered(self, parts: dict[str, Any]) -> Callable[[], Weights]:
        training = BufferedTraining(self._spec, **parts)

        def train() -> Weights:
            self._enter(Phase.ROUNDS)
            training.run(self._asking.grid)
            return training.state.weights

        return train

    def _in_rounds(self, parts: dict[str, Any], *, done: int) -> Callable[[], Weights]:
        strategy = self._strategy(**parts)

        def train() -> Weights:
            self._enter(Phase.ROUNDS)
            rounds, timeout = self._spec.rounds - done, self._spec.round_timeout_s
            run_rounds(strategy, self._asking.grid, strategy.arrays(), rounds=rounds, timeout=timeout)
            return strategy.state.weights

        return train

    def _strategy(self, **parts: Any) -> RunStrategy:
        if isinstance(self._adapter, GrowsTrees):
            return TreesStrategy(self._spec, task=self._adapter, **parts)
        return strategy_of(self._spec, **parts)

    def _trusted(self, registered: dict[str, int]) -> list[str]:
        """Who judges: nobody who is quarantined after the last round."""
        prior = {member.device: member.strikes for member in self._spec.members}
        conduct = Conduct.of(self._ledger.events(), limit=self._spec.gate.strikes, prior=prior)
        out = conduct.quarantined(registered, before=self._spec.rounds + 1)
        return sorted(registered.keys() - set(out))

    def _files(self, weights: Weights, registered: dict[str, int]) -> dict[str, bytes]:
        """The candidate files, made of the weights and of ranges that the devices found."""
        self._enter(Phase.EXPORT)
        fp32 = self._adapter.to_onnx(weights)
        # int8 needs the ranges of each device's activations, which no mask hides; and trees have none to round
        if self._spec.privacy or isinstance(self._adapter, GrowsTrees):
            return {FLOAT: fp32}
        self._enter(Phase.CALIBRATE)
        gauged = activations(infer_shapes(load(fp32)))
        ranges = calibrate(self._asking, self._trusted(registered), graph=calibration_graph(fp32), activations=gauged)
        self._enter(Phase.QUANTISE)
        return {FLOAT: fp32, INT8: quantise(fp32, ranges)}

    def _judge(self, weights: Weights, files: dict[str, bytes], registered: dict[str, int]) -> RunResult:
        """Let the devices judge, and write everything down, `result.json` last."""
        self._enter(Phase.JUDGE)
        judged = dict(files)
        if self._spec.champion:
            judged[CHAMPION] = _read(Path(self._spec.champion))
        scores, answers = judge_files(
            self._asking,
            self._trusted(registered),
            weights=weights,
            files=judged,
            baseline=FLOAT,
            classes=len(self._adapter.labels),
        )
        verdict = judge(scores, self._spec.bar, baseline=FLOAT)
        files = {WEIGHTS: pack_weights(weights), **files}
        for name, data in files.items():
            self._ledger.write_file(name, data)
        result = RunResult(
            run=self._spec.run,
            task=self._spec.task,
            digest=weights_digest(weights),
            files={name: Artefact(digest=sha256(data), size=len(data)) for name, data in files.items()},
            rounds=[event for event in self._ledger.events() if isinstance(event, RoundFinished)],
            devices=registered,
            scores=scores,
            holdouts={
                device: {"training": _share(answer.training), **{n: _share(t) for n, t in answer.files.items()}}
                for device, answer in answers.items()
            },
            admitted=list(verdict.admitted),
            refused=verdict.refused,
            evaluation=verdict.evaluation,
            summary=verdict.summary,
            seconds=self._clock.monotonic() - self._started,
        )
        self._ledger.write_file(RESULT, msgspec.json.encode(result))
        self._ledger.append(RunFinished(at=self._clock.now(), digest=result.digest, verdict=result.summary))
        return result

    def _enter(self, phase: Phase) -> None:
        self._ledger.append(PhaseStarted(at=self._clock.now(), phase=phase))


def _share(tally: FileTally) -> float:
    return tally.correct / max(tally.examples, 1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"the spec names {path}, which cannot be read: {error}") from error


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the run's lock; the kernel lets go of it when the process dies, however it dies."""
    with (directory / LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError(f"another job works on {directory}", hint="Wait for it, or end it.") from error
        yield
