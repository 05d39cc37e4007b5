"""The `private` scenario: what secure aggregation, noise and a budget promise, seen on real training.

compare   a round under masks beside the same round in the clear: nobody lost, 3 of 10 lost before they deliver,
          3 of 10 lost after they delivered
budget    noise and a budget for exactly so many rounds; ε computed once more from the terms alone
repeat    a run that was cut off after a model had left and before its round was committed
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dp_accounting
import msgspec
import numpy as np
import torch
from dp_accounting import rdp
from flwr.app import Message
from rich.console import Console
from rich.table import Table

from cloud.training.events import BudgetReached, PrivacySpent
from cloud.training.private.secret import FILE
from cloud.training.private.terms import Noise, Private
from cloud.training.superlink import quieten
from shared import federation as fed
from shared.durable import write_atomic
from shared.masking import Grid
from shared.tasks.records import FLAT, flatten, read_arrays
from shared.tasks.weights import weights_digest
from simulations.packages import Data
from simulations.progress import Narrator
from simulations.scenarios.private.fleet import DEVICES, FIRST_NODE, Fleet, Played
from simulations.scenarios.private.nodes import Drops, nobody
from simulations.scenarios.private.record import Budget, Comparison, PrivateReport
from simulations.scenarios.rollout.record import Check

LOST = 3
WANTED = 6
AFFORDABLE = 4
DELTA = 1e-3
MULTIPLIER = 0.6
CLIP = 2.0


class Cut(Exception):  # noqa: N818 - not an error: the scenario's own power cut
    """The coordinator's process ends here."""


def play(data: Data, *, seed: int, state: Path, report: Path, port_base: int, console: Console) -> PrivateReport:
    """Play it and leave `private.json` in `report`; nothing listens anywhere, so `port_base` is not needed."""
    quieten()
    torch.set_num_threads(1)  # as on a device; small batches gain nothing from more
    began, narrator = time.monotonic(), Narrator(console)
    place = state / "private"
    shutil.rmtree(place, ignore_errors=True)
    with narrator.stage("pictures cut into shares", total=DEVICES):
        fleet = Fleet.over(data.fashion, place, seed=seed)
    try:
        with narrator.stage("masked and in the clear, side by side", total=3) as bar:
            compared = []
            for number, (name, stages, without) in enumerate(_LOSSES):
                compared.append(_compare(fleet, name, stages, without, number=number))
                bar.update(number + 1, 3)
        with narrator.stage("what the coordinator was sent", total=1):
            seen = _secrecy(fleet)
        with narrator.stage("noise until the budget is spent", total=1):
            budget, paid = _budget(fleet)
        with narrator.stage("cut off and gone on with", total=1):
            repeated = _repeat(fleet)
    finally:
        fleet.close()
    told = PrivateReport(
        scenario="private",
        seed=seed,
        seconds=time.monotonic() - began,
        devices=DEVICES,
        examples=fleet.examples,
        weights=seen.weights,
        comparisons=[comparison for comparison, _ in compared],
        budget=budget,
        checks=[*(check for _, check in compared), seen.check, *paid, *repeated],
    )
    write_atomic(report / "private.json", msgspec.json.format(msgspec.json.encode(told), indent=2))
    console.print(table(told))
    console.print(f"The report is {report / 'private.json'}.")
    return told


_LOSSES: list[tuple[str, tuple[str, ...], str]] = [
    ("nobody is lost", (), ""),
    ("lost after sharing keys, before delivering", ("masked", "unmask"), fed.TRAIN),
    ("lost after delivering, before unmasking", ("unmask",), ""),
]
"""Name, stages that the lost devices do not answer, and what they do not answer in the plain run beside it."""


def lost(seed: int) -> set[int]:
    """The nodes that drop out."""
    chosen = np.random.default_rng(seed).choice(DEVICES, LOST, replace=False)
    return {FIRST_NODE + int(number) for number in chosen}


def _compare(
    fleet: Fleet, name: str, stages: tuple[str, ...], without: str, *, number: int
) -> tuple[Comparison, Check]:
    gone, terms = lost(fleet.seed), Private()

    def drops(*which: str) -> Drops:
        return lambda node, _round, stage: node in gone and stage in which

    masked, masked_s = _timed(lambda: fleet.play(f"masked-{number}", terms, drops=drops(*stages)))
    plain, plain_s = _timed(lambda: fleet.play(f"plain-{number}", None, drops=drops(without) if without else nobody))
    ours, theirs = flatten(masked.state.weights), flatten(plain.state.weights)
    step = Grid(reach=terms.reach, bits=32).step
    bound = step / 2 + float(np.spacing(np.abs(theirs).max()))
    comparison = Comparison(
        name=name,
        devices=DEVICES,
        lost=LOST if stages else 0,
        summed=masked.finished[-1].accepted,
        error=float(np.abs(ours.astype(np.float64) - theirs).max()),
        bound=bound,
        accuracy=masked.finished[-1].accuracy,
        plain_accuracy=plain.finished[-1].accuracy,
        seconds=masked_s,
        plain_seconds=plain_s,
    )
    held = comparison.error <= bound and masked.finished[-1].accepted == plain.finished[-1].accepted
    return comparison, Check(name=name, held=held, said=f"differs by {comparison.error:.2e} of at most {bound:.2e}")


class _Seen(msgspec.Struct):
    weights: int
    check: Check


def _secrecy(fleet: Fleet) -> _Seen:
    """Compare what arrived masked with the same devices' updates; both are on disk of nobody but this scenario."""
    masked, plain = fleet.play("seen-masked", Private()), fleet.play("seen-plain", None)
    begin = flatten(masked.ledger.read_checkpoint(0).weights).astype(np.float64)
    updates = _arrays(plain, fed.TRAIN)
    worst = 0.0
    for node, vector in _arrays(masked, "masked").items():
        true = updates[node].astype(np.float64) - begin
        worst = max(worst, abs(float(np.corrcoef(vector[: len(true)].astype(np.float64), true)[0, 1])))
    alike = 5.0 / np.sqrt(len(begin))  # of independent vectors, one correlation in a million is greater
    return _Seen(
        len(begin),
        Check(
            name="no update can be seen in what arrives",
            held=bool(0.0 < worst < alike),
            said=f"correlation with the true update at most {worst:.4f}; of strangers below {alike:.4f}",
        ),
    )


def _budget(fleet: Fleet) -> tuple[Budget, list[Check]]:
    fits, one_more = (_independent(MULTIPLIER, rounds, DELTA) for rounds in (AFFORDABLE, AFFORDABLE + 1))
    noise = Noise(epsilon=(fits + one_more) / 2, delta=DELTA, clip=CLIP, multiplier=MULTIPLIER)
    run = fleet.play("budget", Private(noise=noise), rounds=WANTED)
    paid = [event for event in run.ledger.events() if isinstance(event, PrivacySpent)]
    reached = [event for event in run.ledger.events() if isinstance(event, BudgetReached)]
    done = run.state.round
    budget = Budget(
        budget=noise.epsilon,
        delta=DELTA,
        multiplier=MULTIPLIER,
        rounds_wanted=WANTED,
        rounds_done=done,
        ledger=paid[-1].epsilon,
        independent=_independent(MULTIPLIER, done, DELTA),
        exact=float(dp_accounting.get_epsilon_gaussian(MULTIPLIER / np.sqrt(done), DELTA)),
        accuracy=run.finished[-1].accuracy,
        reason=run.why,
    )
    asked = sum(stage == "setup" for stage, _, _ in run.nodes.received)
    return budget, [
        Check(
            name="the ledger's ε is dp-accounting's",
            held=abs(budget.ledger - budget.independent) < 1e-9 and budget.exact <= budget.ledger,
            said=f"{budget.ledger:.6f} and {budget.independent:.6f}; the exact one is {budget.exact:.6f}",
        ),
        Check(
            name="the budget stops the run before the round",
            held=done == AFFORDABLE and bool(reached) and asked == DEVICES * AFFORDABLE and bool(run.why),
            said=f"{done} of {WANTED} rounds; {run.why}",
        ),
        Check(
            name="the last committed model stands",
            held=weights_digest(run.state.weights) == run.finished[-1].digest,
            said=f"round {run.finished[-1].round}, accuracy {budget.accuracy:.3f}",
        ),
    ]


def _repeat(fleet: Fleet) -> list[Check]:
    noise = Noise(epsilon=1e6, delta=DELTA, clip=CLIP, multiplier=MULTIPLIER)
    whole = fleet.play("undisturbed", Private(noise=noise), rounds=3)

    def cut(_node: int, round_: int, stage: str) -> bool:
        if round_ == 2 and stage == fed.EVALUATE:
            raise Cut
        return False

    place = fleet.place / "cut"
    place.mkdir()
    shutil.copy(whole.ledger.directory / FILE, place / FILE)  # digests can only be compared under the same noise
    with suppress(Cut):
        fleet.play("cut", Private(noise=noise), rounds=3, drops=cut)
    again = fleet.play("cut", Private(noise=noise), rounds=3, number=2)
    paid = [event for event in again.ledger.events() if isinstance(event, PrivacySpent)]
    same = again.finished[-1].digest == whole.finished[-1].digest
    return [
        Check(
            name="a repeated round gives the same noise and is paid once",
            held=same and len(paid) == 3,
            said=f"{'the same' if same else 'another'} model after 3 rounds, {len(paid)} payments",
        )
    ]


def _independent(multiplier: float, rounds: int, delta: float) -> float:
    """ε of so many rounds, from the terms alone: nothing of the ledger's code is used."""
    event = dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(multiplier), rounds)
    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    return float(accountant.compose(event).get_epsilon(delta))


def _arrays(run: Played, stage: str) -> dict[int, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    def read(reply: Message) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return read_arrays(reply.content.get(fed.ARRAYS))[FLAT]

    return {node: read(reply) for said, node, reply in run.nodes.received if said == stage}


def _timed(run: Callable[[], Played]) -> tuple[Played, float]:
    began = time.monotonic()
    return run(), time.monotonic() - began


def table(told: PrivateReport) -> Table:
    """What was seen, on a terminal."""
    shown = Table(
        title=f"{told.devices} devices, {told.weights} weights, seed {told.seed}, {told.seconds:.0f} s: "
        + ("everything was seen" if told.held else "not everything was seen"),
        show_lines=True,
    )
    for column in ("what must hold", "", "what was seen"):
        shown.add_column(column)
    for check in told.checks:
        shown.add_row(check.name, "[green]yes[/]" if check.held else "[red]no[/]", check.said)
    return shown
