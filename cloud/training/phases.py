"""What a run asks its devices apart from the rounds: statistics, activation ranges, a judgement.

Devices answer with counts, sums and ranges; no example leaves them. Each function asks all, keeps what is usable,
and merges it in the order of device names, so that arrival order leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from cloud.models.gates import Scores, Tally
from cloud.training.asking import Roster, carry, read_answer
from cloud.training.events import Cause, Phase, QueryRefused
from cloud.training.gate import MOST_HELD_OUT
from cloud.training.ledger import RunLedger
from cloud.training.refusals import SILENT, cause_of
from cloud.training.spec import RunSpec
from shared import federation as fed
from shared.calibration import Range, check_ranges, merge_ranges
from shared.clock import Clock
from shared.errors import ContractError, RefusedError, TransportError
from shared.federation import FileTally, JudgeAnswer, MomentsAnswer, RangesAnswer
from shared.secagg import HOLDINGS
from shared.task import Moments, TaskAdapter, Weights

A = TypeVar("A")

MOST_TRAINING = 1 << 24
"""Examples of one device's training part that are believed."""

CHAMPION = "champion"
"""Name under which devices judge the serving release's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What every query needs."""

    grid: Grid
    roster: Roster
    spec: RunSpec
    ledger: RunLedger
    clock: Clock

    def all(
        self, phase: Phase, kind: type[A], messages: Mapping[str, Message], check: Callable[[A], object]
    ) -> dict[str, A]:
        """Ask, decode and check; a device without a usable answer is recorded and left out.

        Raises:
            TransportError: fewer than the spec's least number of devices gave one.
        """
        good: dict[str, A] = {}
        reasons = dict.fromkeys(messages, (SILENT, Cause.SILENT))
        replies = self.grid.send_and_receive(messages.values(), timeout=self.spec.round_timeout_s)
        for device, reply in self.roster.answers(replies):
            try:
                answer = read_answer(reply, kind)
                check(answer)
            except (RefusedError, ContractError) as error:
                reasons[device] = (str(error), cause_of(error))
            else:
                good[device] = answer
        for device in sorted(reasons.keys() - good.keys()):
            reason, cause = reasons[device]
            self.ledger.append(
                QueryRefused(at=self.clock.now(), phase=phase, device=device, reason=reason, cause=cause)
            )
        if len(good) < self.spec.min_devices:
            raise TransportError(
                f"{phase}: {len(good)} usable answers of {len(messages)}, at least {self.spec.min_devices} are needed",
                hint="The run's ledger says what was wrong with the others. Are the devices online?",
            )
        return dict(sorted(good.items()))


def take_statistics(asking: Asking, devices: Iterable[str], adapter: TaskAdapter) -> dict[str, MomentsAnswer]:
    """Ask the devices how much they hold and how it is distributed."""
    kind = HOLDINGS if asking.spec.privacy else fed.MOMENTS  # sums of a device's inputs are no secret shared
    messages = {device: asking.roster.ask(kind, device) for device in sorted(devices)}
    channels = adapter.input_shape[0]
    return asking.all(Phase.STATISTICS, MomentsAnswer, messages, lambda answer: _check_moments(answer, channels))


def merge_moments(answers: Iterable[MomentsAnswer]) -> Moments:
    """Statistics of all devices' inputs together."""
    parts = list(answers)
    return Moments(
        count=sum(part.count for part in parts),
        total=np.sum([part.total for part in parts], axis=0),
        square=np.sum([part.square for part in parts], axis=0),
    )


def calibrate(asking: Asking, devices: Iterable[str], *, graph: bytes, activations: Iterable[str]) -> dict[str, Range]:
    """Let the devices find the range of each activation on their own data."""
    expected = set(activations)

    def check(answer: RangesAnswer) -> None:
        if answer.ranges.keys() != expected:
            raise ContractError("the ranges are of other activations")
        check_ranges(answer.ranges)

    messages = {d: asking.roster.ask(fed.CALIBRATE, d, fields={fed.GRAPH: graph}) for d in sorted(devices)}
    answers = asking.all(Phase.CALIBRATE, RangesAnswer, messages, check)
    return merge_ranges([answer.ranges for answer in answers.values()])


def judge_files(
    asking: Asking, devices: Iterable[str], *, weights: Weights, files: Mapping[str, bytes], baseline: str, classes: int
) -> tuple[Scores, dict[str, JudgeAnswer]]:
    """Let the devices run the weights and the files on their hold-outs; return the sums and each device's part."""
    carried = carry(weights)
    fields: dict[str, bytes | str] = {fed.CANDIDATE + name: data for name, data in files.items()}
    fields[fed.BASELINE] = baseline
    messages = {d: asking.roster.ask(fed.JUDGE, d, weights=carried, fields=fields) for d in sorted(devices)}
    answers = asking.all(
        Phase.JUDGE, JudgeAnswer, messages, lambda answer: _check_judgement(answer, set(files), classes)
    )
    names = [name for name in files if name != CHAMPION]
    scores = Scores(
        training=_sum(answer.training for answer in answers.values()),
        variants={name: _sum(answer.files[name] for answer in answers.values()) for name in names},
        champion=_sum(answer.files[CHAMPION] for answer in answers.values()) if CHAMPION in files else None,
        parity=max(answer.parity for answer in answers.values()),
    )
    return scores, answers


def _check_moments(answer: MomentsAnswer, channels: int) -> None:
    numbers = (*answer.total, *answer.square)
    if len(answer.total) != channels or len(answer.square) != channels or not all(map(math.isfinite, numbers)):
        raise ContractError(f"these are no moments of {channels} channels")
    if not 1 <= answer.training <= MOST_TRAINING or not 0 <= answer.holdout <= MOST_HELD_OUT:
        raise ContractError(f"registers {answer.training} training and {answer.holdout} held-out examples")
    if answer.count < answer.training or min(answer.square) < 0:
        raise ContractError("its counts and moments contradict each other")


def _check_judgement(answer: JudgeAnswer, names: set[str], classes: int) -> None:
    if answer.files.keys() != names or not answer.parity >= 0:
        raise ContractError("judges other files than it was sent, or their parity is no number")
    for tally in (answer.training, *answer.files.values()):
        counts = (tally.correct, tally.agreed)
        shares = [0 <= found <= present for found, present in zip(tally.found, tally.present, strict=False)]
        if (
            len(tally.found) != classes
            or len(tally.present) != classes
            or not all(shares)
            or not all(0 <= count <= tally.examples for count in counts)
            or tally.examples != answer.training.examples
            or sum(tally.present) != tally.examples
            or sum(tally.found) != tally.correct
            or tally.examples > MOST_HELD_OUT
        ):
            raise ContractError("its counts contradict each other")


def _sum(tallies: Iterable[FileTally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.add(
            Tally(
                correct=tally.correct,
                examples=tally.examples,
                agreed=tally.agreed,
                found=tuple(tally.found),
                present=tuple(tally.present),
            )
        )
    return total
