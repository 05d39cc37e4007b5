"""Local training as a run's instruction has it: plain, held near the global weights, corrected, or within a budget."""

from __future__ import annotations

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from edge.training.controls import ControlStore
from shared import federation as fed
from shared.clock import Clock
from shared.errors import ContractError
from shared.federation import Instruction
from shared.task import Examples, Recipe, TaskAdapter, Trained, Weights
from shared.tasks.records import flatten, from_record, unflatten


def learn(
    message: Message,
    wanted: Instruction,
    data: Examples,
    *,
    start: Weights,
    task: TaskAdapter,
    controls: ControlStore,
    clock: Clock,
) -> Trained:
    """Train on `data` from `start`: the weights that `message` carries, with the device's own tensors in place.

    Raises:
        ContractError: the control variate that should come along is none.
    """
    if not wanted.controlled:
        return task.train(start, data, _recipe(wanted, clock))
    begun = flatten(start)
    server = flatten(from_record(message.content.get(fed.CONTROL), wanted.form))
    own = controls.before(wanted.task, wanted.run, wanted.round, size=begun.size)
    trained = task.train(start, data, _recipe(wanted, clock, correction=server - own))
    if not trained.steps:
        raise ContractError(f"{wanted.task} does not count its steps, so it cannot be trained with control variates")
    # option II of SCAFFOLD: the mean gradient of the steps just made
    way = (begun.astype(np.float64) - flatten(trained.weights)) / (trained.steps * wanted.learning_rate)
    controls.keep(wanted.task, wanted.run, wanted.round, (own - server + way).astype(np.float32))
    return trained


def _recipe(wanted: Instruction, clock: Clock, *, correction: NDArray[np.float32] | None = None) -> Recipe:
    begun = clock.monotonic()
    return Recipe(
        epochs=wanted.epochs,
        batch_size=wanted.batch_size,
        learning_rate=wanted.learning_rate,
        seed=wanted.seed,
        proximal=wanted.proximal,
        correction=None if correction is None else unflatten(correction, wanted.form),
        stop=(lambda: clock.monotonic() - begun >= wanted.budget_s) if wanted.budget_s > 0 else None,
    )
