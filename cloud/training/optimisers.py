"""Server optimisers: how the global model follows what the clients made of it.

The clients' combined update is taken as a pseudo-gradient, Δ = combined − model (Reddi et al. 2021, arXiv:2003.00295,
algorithm 2). All vectors are float32; a step is computed in float64 on a stretch at a time and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

State = dict[str, NDArray[np.float32]]
"""Vectors that an optimiser carries from round to round, by their names; each as long as the model."""

VELOCITY = "velocity"
FIRST, SECOND = "first-moment", "second-moment"

_STRETCH = 1 << 14

_Wide = NDArray[np.float64]


class FedAvg(msgspec.Struct, frozen=True, kw_only=True, tag="fedavg"):
    """The model becomes what the rule made of the updates (arXiv:1602.05629)."""


class Momentum(msgspec.Struct, frozen=True, kw_only=True, tag="momentum"):
    """v ← momentum · v + Δ, model ← model + rate · v (FedAvgM, arXiv:1909.06335)."""

    momentum: float = 0.5
    """Share of the direction that is kept, 0 to below 1."""

    rate: float = 1.0


class Adagrad(msgspec.Struct, frozen=True, kw_only=True, tag="adagrad"):
    """s ← s + Δ², model ← model + rate · Δ / (√s + tau)."""

    rate: float = 0.1
    tau: float = 1e-3
    """How adaptive the step is: the smaller, the more."""


class Adam(msgspec.Struct, frozen=True, kw_only=True, tag="adam"):
    """m ← β₁m + (1−β₁)Δ, s ← β₂s + (1−β₂)Δ², model ← model + rate · m / (√s + tau), bias-corrected.

    The correction is Flower's: of round t + 1 in round t, rate · √(1−β₂ᵗ⁺¹) / (1−β₁ᵗ⁺¹) (Kingma and Ba 2015,
    section 2).
    """

    rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3


class Yogi(msgspec.Struct, frozen=True, kw_only=True, tag="yogi"):
    """As Adam without correction, but s ← s − (1−β₂) Δ² sign(s − Δ²): it grows and shrinks by steps alone."""

    rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3


Strategy = FedAvg | Momentum | Adam | Yogi | Adagrad


def check_strategy(strategy: Strategy) -> None:
    """Refuse an optimiser whose numbers make no sense.

    Raises:
        ContractError: a number is out of range.
    """
    if isinstance(strategy, FedAvg):
        return
    shares = [getattr(strategy, name) for name in ("momentum", "beta1", "beta2") if hasattr(strategy, name)]
    above = [getattr(strategy, name) for name in ("rate", "tau") if hasattr(strategy, name)]
    if not all(0.0 <= share < 1.0 for share in shares) or not all(0.0 < x < math.inf for x in above):
        raise ContractError(f"{strategy} has a number out of range: shares from 0 to below 1, rate and tau above 0")


class Step:
    """One move of a model, made a stretch at a time as the clients' combined update comes."""

    def __init__(self, strategy: Strategy, model: NDArray[np.float32], state: State, *, round_: int) -> None:
        """Prepare to move `model` in place in `round_`, which counts from 1; the vectors of `state` may be overwritten.

        An empty state begins.
        """
        self.state: State = {
            name: state[name] if name in state else np.zeros_like(model) for name in _vectors(strategy)
        }
        """The optimiser's, after the round."""
        self._plain = isinstance(strategy, FedAvg)
        self._model = model
        self._move = _move(strategy, round_)

    def take(self, start: int, combined: NDArray[np.float32]) -> None:
        """Move the stretch from index `start` on. Each stretch once, in any order, from any thread."""
        if self._plain:
            self._model[start : start + combined.size] = combined
            return
        for begin in range(0, combined.size, _STRETCH):
            here = combined[begin : begin + _STRETCH]
            self._take(slice(start + begin, start + begin + here.size), here)

    def _take(self, part: slice, combined: NDArray[np.float32]) -> None:
        here = self._model[part].astype(np.float64)
        way = combined.astype(np.float64) - here
        go, moments = self._move(way, [values[part].astype(np.float64) for values in self.state.values()])
        self._model[part] = here + go
        for vector, values in zip(self.state.values(), moments, strict=True):
            vector[part] = values


def step(
    strategy: Strategy,
    model: NDArray[np.float32],
    combined: NDArray[np.float32],
    state: State,
    *,
    round_: int,
) -> State:
    """Make a whole `Step`; return the optimiser's state. `combined` keeps its numbers."""
    moving = Step(strategy, model, state, round_=round_)
    moving.take(0, combined)
    return moving.state


def _vectors(strategy: Strategy) -> tuple[str, ...]:
    match strategy:
        case FedAvg():
            return ()
        case Momentum():
            return (VELOCITY,) if strategy.momentum else ()
        case Adagrad():
            return (SECOND,)
        case Adam() | Yogi():
            return (FIRST, SECOND)


def _move(strategy: Strategy, round_: int) -> Callable[[_Wide, list[_Wide]], tuple[_Wide, list[_Wide]]]:
    """What turns Δ and the vectors before into the model's step and the vectors after."""
    match strategy:
        case FedAvg():
            return lambda way, _: (way, [])
        case Momentum():
            return lambda way, before: _momentum(strategy, way, before)
        case Adagrad():
            return lambda way, before: _adagrad(strategy, way, before)
        case Adam():
            return lambda way, before: _adam(strategy, way, before, round_)
        case Yogi():
            return lambda way, before: _yogi(strategy, way, before)


def _momentum(strategy: Momentum, way: _Wide, before: list[_Wide]) -> tuple[_Wide, list[_Wide]]:
    if not before:
        return strategy.rate * way, []
    velocity = strategy.momentum * before[0] + way
    return strategy.rate * velocity, [velocity]


def _adagrad(strategy: Adagrad, way: _Wide, before: list[_Wide]) -> tuple[_Wide, list[_Wide]]:
    second = before[0] + way * way
    return strategy.rate * way / (np.sqrt(second) + strategy.tau), [second]


def _adam(strategy: Adam, way: _Wide, before: list[_Wide], round_: int) -> tuple[_Wide, list[_Wide]]:
    first = strategy.beta1 * before[0] + (1 - strategy.beta1) * way
    second = strategy.beta2 * before[1] + (1 - strategy.beta2) * (way * way)
    corrected = math.sqrt(1 - strategy.beta2 ** (round_ + 1)) / (1 - strategy.beta1 ** (round_ + 1))
    return strategy.rate * corrected * first / (np.sqrt(second) + strategy.tau), [first, second]


def _yogi(strategy: Yogi, way: _Wide, before: list[_Wide]) -> tuple[_Wide, list[_Wide]]:
    first = strategy.beta1 * before[0] + (1 - strategy.beta1) * way
    square = way * way
    second = before[1] - (1 - strategy.beta2) * square * np.sign(before[1] - square)
    return strategy.rate * first / (np.sqrt(second) + strategy.tau), [first, second]
