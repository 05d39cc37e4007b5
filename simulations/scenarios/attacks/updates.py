"""Family `updates`: a federated run on the real SuperLink in which most devices lie, each in a way of its own.

Ten liars beside three honest devices are far more than is claimed to be withstood; here each lie is one that the gate
sees, so that the three decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe, ModelLine, document_of
from cloud.training.events import AnyEvent, UpdateAccepted, UpdateRefused
from cloud.training.ledger import RunLedger
from shared import api
from shared.bundle import Schema
from shared.tasks import adapter
from simulations.scenarios.attacks.ground import Ground
from simulations.scenarios.attacks.nodes import HONEST, TASK, Liar, Lie, Trainer, update, weights_of
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import wait

RUN_S = 90.0
ACCURACY = 0.5
"""Least share of the hold-outs that a candidate must classify right; seven classes."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """One run with a liar for each lie."""
    trainers = [Trainer(ground, device, seed=number) for number, device in enumerate(HONEST)]
    liars = {name: Liar(ground, f"liar-{name}", lie) for name, _, lie in _lies()}
    for each in (*trainers, *liars.values()):
        each.start()
    for trainer in trainers:
        trainer.wait()
    first: list[Any] = []
    try:
        for name, done, _ in _lies():
            yield Attack(
                name=name,
                threat=Threat.POISON,
                victim="coordinator's job",
                done=done,
                control="the updates of three honest devices in the same round: accepted",
                act=_lying(ground, liars[name].device, [each.device for each in liars.values()], first),
            )
    finally:
        for liar in liars.values():
            liar.stop()
        for trainer in trainers:
            trainer.process.kill()


def _lies() -> Iterator[tuple[str, str, Lie]]:
    yield "nan", "answered with one weight that is not a number", _spoiled(np.nan)
    yield "inf", "answered with one weight that is infinite", _spoiled(np.inf)
    yield "times-a-million", "answered with the weights times 10⁶", lambda m: update({"weights": weights_of(m) * 1e6})
    yield (
        "weight-of-a-billion",
        "claimed to have trained on 10⁹ examples",
        lambda m: update({"weights": weights_of(m)}, 10**9),
    )
    yield (
        "negative-weight",
        "claimed to have trained on −120 examples",
        lambda m: update({"weights": weights_of(m)}, -120),
    )
    yield (
        "wrong-shape",
        "answered with weights of shape (1,), which would be broadcast",
        lambda _m: update({"weights": np.ones(1, np.float32)}),
    )
    yield (
        "wrong-type",
        "answered with weights of 64 bits",
        lambda m: update({"weights": weights_of(m).astype(np.float64)}),
    )
    yield (
        "extra-key",
        "answered with a tensor more than the model has",
        lambda m: update({"weights": weights_of(m), "more": np.ones(3, np.float32)}),
    )
    yield "missing-key", "answered with no tensor at all", lambda _m: update({})


def _spoiled(value: float) -> Lie:
    def lie(message: Any) -> Any:
        weights = weights_of(message).copy()
        weights[len(weights) // 2] = value
        return update({"weights": weights})

    return lie


def _lying(ground: Ground, liar: str, liars: list[str], run: list[Any]) -> Callable[[], Seen]:
    def act() -> Seen:
        if not run:
            run.append(_play(ground, [*HONEST, *liars]))
        state, events = run[0]
        said = [event.reason for event in events if isinstance(event, UpdateRefused) and event.device == liar]
        taken = [event.device for event in events if isinstance(event, UpdateAccepted)]
        return Seen(
            refused=bool(said) and liar not in taken,
            error=said[0] if said else "",
            observed=f"accepted in that round: {', '.join(sorted(set(taken)))}; the run was {state.state}",
            accepted=set(HONEST) <= set(taken),
        )

    return act


def _play(ground: Ground, members: list[str]) -> tuple[api.Run, list[AnyEvent]]:
    """Order a run through the API, and wait for its end; return it and its ledger."""
    _apply(ground, members)
    run = ground.client.start_run(api.RunRequest(model=TASK, devices=members, reason="attacks")).id
    wait(
        lambda: ground.client.run(run).state in ("released", "rejected", "failed"),
        what=f"the end of {run}",
        within_s=RUN_S,
    )
    return ground.client.run(run), RunLedger(ground.world.layout.runs / run).events()


def _apply(ground: Ground, members: list[str]) -> None:
    family = adapter(TASK)
    schema = Schema(kind="classification", labels=list(family.labels), input_shape=list(family.input_shape))
    line = ModelLine(
        name=TASK,
        task=TASK,
        schema=schema,
        rounds=2,
        recipe=LocalRecipe(epochs=4, batch_size=16, learning_rate=0.05),
        seed=7,
        min_devices=3,
        members=tuple(members),
        bar=Bar(accuracy=ACCURACY, drop=0.2, agreement=0.5, champion_tolerance=0.5, least_examples=20),
        fleets=(),
    )
    document: Mapping[str, Any] = msgspec.to_builtins(document_of(line))
    ground.client.apply_model(document)
