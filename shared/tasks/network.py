"""What every model family trained with torch shares: one deterministic loop, evaluation and export.

A family is a `NetworkTask`: names, shapes and a function that builds its module. Building imports torch, so
reading a family's labels stays cheap. The module must begin with `Normalise`, whose mean and deviation come
from the federated moments: devices then feed raw readings, and no preprocessing can differ between them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError
from shared.task import Examples, Moments, Recipe, Score, Trained, Weights
from shared.task_compute import Compute, Place
from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
from shared.tasks.scoring import score, statistics

if TYPE_CHECKING:
    import torch

EVALUATION_BATCH = 512
OPSET = 17
"""The newest one that torch's TorchScript exporter writes without falling back to function bodies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTask:
    """A `TaskAdapter` over a torch module."""

    name: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    build: Callable[[], torch.nn.Module]
    """Makes the module with freshly drawn parameters; takes its randomness from torch's global generator."""

    compute: Compute = field(default_factory=Compute)

    def on(self, compute: Compute) -> NetworkTask:
        """The same family, training and scoring there (`shared.task_compute`); files are made on the CPU."""
        return replace(self, compute=compute)

    def warm_up(self) -> None:
        import torch

        from shared.tasks.placement import settle

        torch.set_num_threads(1)
        settle(self.compute)

    def initial(self, *, seed: int, moments: Moments) -> Weights:
        module = self._module(seed)
        mean, deviation = statistics(moments)
        weights = _arrays(module)
        weights["normalise.mean"] = _per_channel(mean, weights["normalise.mean"].shape)
        weights["normalise.deviation"] = _per_channel(deviation, weights["normalise.deviation"].shape)
        return weights

    def train(self, weights: Mapping[str, NDArray[np.float32]], data: Examples, recipe: Recipe) -> Trained:
        module, place = self._at_work(weights, seed=recipe.seed)
        done = _descend(module, data, recipe, place)
        examples = -(-done.examples // recipe.epochs)
        return Trained(weights=_arrays(module), examples=examples, loss=done.loss, steps=done.steps)

    def train_many(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        clients: Sequence[tuple[Examples, Recipe]],
        *,
        workers: int = 1,
    ) -> Iterator[tuple[int, Trained]]:
        """Train many clients from the same weights at once (`shared.task_many`)."""
        from shared.tasks.network_many import train_stacked
        from shared.tasks.stacked import NotStackableError

        try:
            yield from train_stacked(self._load(weights, seed=0), clients, workers=workers)
        except NotStackableError:
            for position, (data, recipe) in enumerate(clients):
                yield position, self.train(weights, data, recipe)

    def evaluate_many(self, weights: Mapping[str, NDArray[np.float32]], parts: Sequence[Examples]) -> list[Score]:
        """Score the same weights on the data of many clients at once."""
        if not parts:
            return []
        x = np.concatenate([part.x for part in parts])
        y = np.concatenate([part.y for part in parts])
        logits = self.logits(weights, x)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return [score(*pair) for pair in zip(np.split(logits, ends), np.split(y, ends), strict=True)]

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], data: Examples) -> Score:
        return score(self.logits(weights, data.x), data.y)

    def logits(self, weights: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        from shared.tasks.placement import moved

        module, place = self._at_work(weights, seed=0)
        module.eval()
        parts = [np.zeros((0, len(self.labels)), dtype=np.float32)]
        with torch.no_grad():
            for start in range(0, len(x), EVALUATION_BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(x[start : start + EVALUATION_BATCH]))
                parts.append(module(moved(batch, place.device)).cpu().numpy())
        return np.concatenate(parts)

    def to_onnx(self, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
        import torch

        module = self._load(weights, seed=0).eval()
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # torch calls this exporter legacy; the newer one needs 6 s and 130 MB more to write the same nodes.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                module,
                (torch.zeros(2, *self.input_shape),),
                buffer,
                input_names=["x"],
                output_names=["logits"],
                dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
                external_data=False,
            )
        return buffer.getvalue()

    def _module(self, seed: int) -> torch.nn.Module:
        import torch

        torch.set_num_threads(1)
        # the same switch as use_deterministic_algorithms(True), without 800 modules of the compiler (2 s, 60 MB)
        torch.set_deterministic_debug_mode("error")
        # that switch also fills all new memory with NaN, a sixth of a training's time; no operation here reads it unset
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.manual_seed(seed)
        return self.build()

    def _at_work(self, weights: Mapping[str, NDArray[np.float32]], *, seed: int) -> tuple[torch.nn.Module, Place]:
        """The module where this machine computes; drawn and filled on the CPU, so that it begins alike everywhere."""
        from shared.tasks.placement import settle

        place = settle(self.compute)
        return self._load(weights, seed=seed).to(place.device), place

    def _load(self, weights: Mapping[str, NDArray[np.float32]], *, seed: int) -> torch.nn.Module:
        import torch

        module = self._module(seed)
        try:
            module.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
        except RuntimeError as error:
            raise ContractError(f"these are no weights of {self.name}: {error}") from error
        return module


def _per_channel(values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return values.astype(np.float32).reshape(shape)


def _arrays(module: torch.nn.Module) -> Weights:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in module.state_dict().items()}


class _Descent(NamedTuple):
    """What a descent went through."""

    loss: float
    """Mean over the examples of the last epoch."""

    examples: int
    """Over all epochs."""

    steps: int


def _descend(module: torch.nn.Module, data: Examples, recipe: Recipe, place: Place) -> _Descent:
    """Run stochastic gradient descent with momentum.

    Written out because building a `torch.optim` optimizer imports torch's compiler: two seconds and 100 MB
    in every training process of a fleet.
    """
    import torch

    from shared.tasks.placement import LossScale, batches_at, cast

    order = np.random.Generator(np.random.PCG64(recipe.seed))
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    parameters = list(trained.values())
    pull = _pull(trained, recipe)
    velocity = [torch.zeros_like(p) for p in parameters]
    momentum = MOMENTUM if recipe.correction is None else 0.0
    module.train()
    scale = LossScale(place.precision)
    mean, examples, steps = 0.0, 0, 0
    for _ in range(recipe.epochs):
        total, seen = 0.0, 0
        for chosen, x, y in batches_at(data, batches(order, len(data), recipe.batch_size), place.device):
            if steps and recipe.stop is not None and recipe.stop():
                return _Descent(total / seen if seen else mean, examples, steps)
            with cast(place):
                loss = torch.nn.functional.cross_entropy(module(x), y)
            gradients = scale.down(torch.autograd.grad(scale.up(loss), parameters))
            if gradients is not None:
                _step(parameters, velocity, gradients, recipe.learning_rate, momentum=momentum, pull=pull)
            total += float(loss.detach()) * len(chosen)
            seen += len(chosen)
            examples, steps = examples + len(chosen), steps + (gradients is not None)
        mean = total / max(len(data), 1)
    return _Descent(mean, examples, steps)


def _pull(trained: Mapping[str, torch.nn.Parameter], recipe: Recipe) -> Callable[[int], torch.Tensor | None]:
    """What an algorithm adds to the gradient of parameter i, at where it is now."""
    import torch

    parameters = list(trained.values())
    if recipe.correction is not None:
        added = [torch.from_numpy(np.array(recipe.correction[name])).to(p.device) for name, p in trained.items()]
        return lambda i: added[i]
    if recipe.proximal:
        begun = [p.detach().clone() for p in parameters]
        return lambda i: (parameters[i].detach() - begun[i]) * recipe.proximal
    return lambda _: None


def _step(
    parameters: list[torch.nn.Parameter],
    velocity: list[torch.Tensor],
    gradients: tuple[torch.Tensor, ...],
    rate: float,
    *,
    momentum: float,
    pull: Callable[[int], torch.Tensor | None],
) -> None:
    import torch

    with torch.no_grad():
        norm = torch.sqrt(torch.stack([(g * g).sum() for g in gradients]).sum())
        scale = min(1.0, CLIP / (float(norm) + 1e-12))
        for i, (parameter, moving, gradient) in enumerate(zip(parameters, velocity, gradients, strict=True)):
            moving.mul_(momentum).add_(gradient, alpha=scale).add_(parameter, alpha=WEIGHT_DECAY)
            if (added := pull(i)) is not None:
                moving.add_(added)
            parameter.add_(moving, alpha=-rate)
