"""Ten devices with pictures of garments, and runs of theirs that leave a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloud.models.line import LocalRecipe
from cloud.training.asking import Roster
from cloud.training.events import RoundFinished, StatisticsTaken
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.optimisers import FedAvg
from cloud.training.phases import Asking, merge_moments, take_statistics
from cloud.training.private.strategy import run_rounds, strategy_of
from cloud.training.private.terms import Private
from cloud.training.spec import Member, RunSpec, check
from edge.training.client import build_client
from edge.training.dataset import DatasetStore
from shared.clock import SystemClock
from shared.tasks import adapter
from shared.tasks.records import to_record
from shared.tasks.weights import weights_digest
from simulations.images import dirichlet_shares, fashion_training
from simulations.packages import Fashion
from simulations.scenarios.private.nodes import Drops, Nodes, nobody

TASK = "fashion"
DEVICES = 10
IMAGES = 4000
ALPHA = 1.0
FIRST_NODE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What one run came to."""

    state: Checkpoint
    ledger: RunLedger
    finished: list[RoundFinished]
    nodes: Nodes
    why: str
    """Why it ended before its last round; empty if it did not."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices' data, and where runs are kept."""

    stores: dict[int, DatasetStore]
    place: Path
    seed: int
    examples: int

    @classmethod
    def over(cls, files: Fashion, place: Path, *, seed: int) -> Fleet:
        """Cut pictures into uneven shares, one a device, under `place`."""
        shares = dirichlet_shares(fashion_training(files), devices=DEVICES, images=IMAGES, alpha=ALPHA, seed=seed)
        stores = {}
        for number, share in enumerate(shares):
            split = place / f"shop-{number}" / TASK
            split.mkdir(parents=True, exist_ok=True)
            for name, part in (("train", share.training), ("holdout", share.holdout)):
                np.savez(split / f"{name}.npz", x=part.x, y=part.y)
            stores[FIRST_NODE + number] = DatasetStore(split.parent)
        return cls(stores, place, seed, sum(len(share.training) for share in shares))

    def close(self) -> None:
        """Close the devices' stores."""
        for store in self.stores.values():
            store.close()

    def play(
        self, run: str, privacy: Private | None, *, rounds: int = 1, drops: Drops = nobody, number: int = 1
    ) -> Played:
        """Play a run, or go on with it after its last committed round; `number` is Flower's own of the attempt."""
        members = [Member(device=f"shop-{node - FIRST_NODE}", node=node) for node in self.stores]
        spec = check(
            RunSpec(
                run=run,
                task=TASK,
                members=members,
                seed=self.seed,
                rounds=rounds,
                local=LocalRecipe(epochs=2, batch_size=32, learning_rate=0.05),
                strategy=FedAvg(),
                privacy=privacy,
            )
        )
        nodes = Nodes({node: build_client(store) for node, store in self.stores.items()}, run=number, drops=drops)
        clock, ledger = SystemClock(), RunLedger(self.place / run)
        roster = Roster(spec.members, task=TASK, ttl_s=60.0)
        asking = Asking(grid=nodes, roster=roster, spec=spec, ledger=ledger, clock=clock)
        begin, registered = ledger.last_committed() or self._begin(asking)
        strategy = strategy_of(spec, roster=roster, registered=registered, begin=begin, ledger=ledger, clock=clock)
        why = run_rounds(strategy, nodes, to_record(begin.weights), rounds=rounds - begin.round, timeout=60.0)
        finished = [event for event in ledger.events() if isinstance(event, RoundFinished)]
        return Played(state=strategy.state, ledger=ledger, finished=finished, nodes=nodes, why=why)

    def _begin(self, asking: Asking) -> tuple[Checkpoint, dict[str, int]]:
        """As a job begins, but all runs with the weights of a private one, so that they can be compared."""
        task = adapter(TASK)
        answers = take_statistics(asking, asking.roster.members, task)
        moments = merge_moments(answers.values())
        neutral = type(moments)(count=1, total=np.zeros(task.input_shape[0]), square=np.ones(task.input_shape[0]))
        begin = Checkpoint(0, task.initial(seed=self.seed, moments=neutral), {})
        asking.ledger.write_checkpoint(begin)
        registered = {device: answer.training for device, answer in answers.items()}
        asking.ledger.append(
            StatisticsTaken(
                at=asking.clock.now(),
                registered=registered,
                holdout={device: answer.holdout for device, answer in answers.items()},
                digest=weights_digest(begin.weights),
            )
        )
        return begin, registered
