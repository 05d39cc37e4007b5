"""The releases of the story: trained once for a seed, then made a little better, a little worse, or hostile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import FaultError
from shared.task import Examples, Moments, Recipe, Weights
from shared.tasks import adapter
from simulations.scenarios.rollout.cast import TASK
from simulations.scenarios.rollout.traps import Trap, trapped

FIRST_IMAGES, MORE_IMAGES = 6_000, 12_000
LOSS, NEAR = 0.08, 0.01
"""How much accuracy the subtly worse release lacks, and how near to that it is made."""

RARE = 0.97
"""Quantile of brightness above which a trapped model does what it was made for: three pictures in a hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One model file and what is known of it."""

    name: str
    data: bytes
    accuracy: float
    """On the pictures from which the devices' streams are drawn."""


def make_releases(training: Examples, live: Examples, *, seed: int) -> dict[str, Made]:
    """Every model of the story by name; the same for the same seed.

    Raises:
        FaultError: no perturbation was found that costs about `LOSS`.
    """
    family = adapter(TASK)
    order = np.random.default_rng(seed).permutation(len(training))
    some, more = (_part(training, order[:count]) for count in (FIRST_IMAGES, MORE_IMAGES))
    began = family.initial(seed=seed, moments=_moments(some.x))
    first = family.train(began, some, Recipe(epochs=3, batch_size=32, learning_rate=0.02, seed=seed)).weights
    good = family.train(first, more, Recipe(epochs=2, batch_size=64, learning_rate=0.01, seed=seed + 1)).weights
    worse = perturbed(good, live, seed=seed)
    made = {"first": first, "good": good, "worse": worse}
    files = {
        name: Made(name=name, data=family.to_onnx(weights), accuracy=_accuracy(weights, live))
        for name, weights in made.items()
    }
    bright = float(np.quantile(live.x.mean(axis=(1, 2, 3)), RARE))
    for trap in Trap:
        data = trapped(files["good"].data, trap, threshold=bright)
        files[trap.value] = Made(name=trap.value, data=data, accuracy=files["good"].accuracy)
    return files


def perturbed(weights: Weights, live: Examples, *, seed: int) -> Weights:
    """`weights` with seeded noise on every matrix, as much as costs about `LOSS` of accuracy on `live`.

    Raises:
        FaultError: there is no such amount.
    """
    wanted = _accuracy(weights, live) - LOSS
    low, high = 0.0, 2.0
    for _ in range(24):
        amount = (low + high) / 2
        found = _noisy(weights, amount, seed=seed)
        gap = _accuracy(found, live) - wanted
        if abs(gap) < NEAR / 4:
            return found
        low, high = (amount, high) if gap > 0 else (low, amount)
    raise FaultError(f"no noise makes the model {LOSS:.0%} worse", hint="Try another --seed.")


def _noisy(weights: Weights, amount: float, *, seed: int) -> Weights:
    random = np.random.default_rng(seed)
    return {
        name: values
        if values.ndim < 2 or name.startswith("normalise")
        else (values + amount * values.std() * random.standard_normal(values.shape)).astype(np.float32)
        for name, values in weights.items()
    }


def _part(examples: Examples, chosen: NDArray[np.int64]) -> Examples:
    return Examples(examples.x[chosen], examples.y[chosen])


def _accuracy(weights: Weights, live: Examples) -> float:
    return adapter(TASK).evaluate(weights, live).correct / len(live)


def _moments(x: NDArray[np.float32]) -> Moments:
    values = x.astype(np.float64)
    return Moments(count=values[:, 0].size, total=values.sum(axis=(0, 2, 3)), square=(values**2).sum(axis=(0, 2, 3)))
