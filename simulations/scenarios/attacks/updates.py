"""Family `updates`: a federated run on the real SuperLink in which most devices lie, each in a way of its own.

Ten liars beside three honest devices are far more than is claimed to be withstood; here each lie is one that the gate
sees, so that the three decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cloud.models.line import LocalRecipe
from cloud.training.control import FlowerControl
from cloud.training.events import AnyEvent, AttemptStarted, RoundFinished, UpdateAccepted, UpdateRefused
from cloud.training.ledger import RunLedger
from cloud.training.spec import Member, RunSpec, write_spec
from simulations.scenarios.attacks.ground import Ground
from simulations.scenarios.attacks.nodes import HONEST, TASK, Liar, Lie, Trainer, superlink, update, weights_of
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import wait
from simulations.world.process import Process, console_script

RUN = "poisoned-run-1"


def attacks(ground: Ground) -> Iterator[Attack]:
    """One run with a liar for each lie."""
    trainers = [Trainer(ground, device, seed=number) for number, device in enumerate(HONEST)]
    liars = {name: Liar(ground, f"liar-{name}", lie) for name, _, lie in _lies()}
    for liar in liars.values():
        liar.start()
    for trainer in trainers:
        trainer.start()
    for trainer in trainers:
        trainer.wait()
    wait(lambda: _registered(ground, [*HONEST, *(each.device for each in liars.values())]), what="all nodes")
    played: list[list[AnyEvent]] = []
    try:
        for name, done, _ in _lies():
            yield Attack(
                name=name,
                threat=Threat.POISON,
                victim="coordinator's job",
                done=done,
                control="the updates of three honest devices in the same round: accepted",
                act=_lying(ground, liars[name].device, [each.device for each in liars.values()], played),
            )
    finally:
        for liar in liars.values():
            liar.stop()
        for trainer in trainers:
            trainer.process.kill()


def _registered(ground: Ground, members: list[str]) -> bool:
    nodes = {device.id: device.node for device in ground.client.devices()}
    return all(nodes.get(member) for member in members)


def _lies() -> Iterator[tuple[str, str, Lie]]:
    yield "nan", "answered with one weight that is not a number", _spoiled(np.nan)
    yield "inf", "answered with one weight that is infinite", _spoiled(np.inf)
    yield "times-a-million", "answered with the weights times 10⁶", lambda m: update({"weights": weights_of(m) * 1e6})
    yield "sign-flip", "answered with the weights mirrored", lambda m: update({"weights": -weights_of(m)})
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


def _lying(ground: Ground, liar: str, liars: list[str], run: list[list[AnyEvent]]) -> Callable[[], Seen]:
    def act() -> Seen:
        if not run:
            run.append(_play(ground, [*HONEST, *liars]))
        said = [event.reason for event in run[0] if isinstance(event, UpdateRefused) and event.device == liar]
        taken = sorted({event.device for event in run[0] if isinstance(event, UpdateAccepted)})
        return Seen(
            refused=bool(said) and liar not in taken,
            error=said[0] if said else "",
            observed=f"in the mean of that round: {', '.join(taken)}",
            accepted=set(HONEST) <= set(taken),
        )

    return act


def _play(ground: Ground, members: list[str]) -> list[AnyEvent]:
    """Have the coordinator's own job play one round; return its ledger once the updates are aggregated."""
    layout = ground.world.layout
    nodes = {device.id: int(device.node) for device in ground.client.devices() if device.id in members}
    spec = RunSpec(
        run=RUN,
        task=TASK,
        members=[Member(device=device, node=nodes[device]) for device in members],
        seed=7,
        rounds=1,
        local=LocalRecipe(epochs=1, batch_size=16, learning_rate=0.05),
        min_devices=len(HONEST),
    )
    write_spec(layout.runs / RUN, spec)
    argv = [*console_script("hinterland-coordinator"), "job", str(layout.runs / RUN), "--dir", str(layout.directory)]
    job, ledger = Process("job", argv, logs=ground.world.logs), RunLedger(layout.runs / RUN)
    ground.world.agents["job"] = job
    job.start()
    try:
        wait(lambda: any(isinstance(e, RoundFinished) for e in ledger.events()), what="the round")
    finally:
        job.kill()
        _close(ground, ledger.events())
    return ledger.events()


def _close(ground: Ground, events: list[AnyEvent]) -> None:
    """Close what the job left open at the SuperLink."""
    control = FlowerControl(superlink(ground))
    for event in events:
        if isinstance(event, AttemptStarted):
            control.stop_run(event.flower_run)
    control.close()
