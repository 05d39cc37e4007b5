"""Many clients of a round trained as one computation; each ends where its own training would have ended.

The clients begin with the same weights and part ways with the first step, so that every parameter is an array with
one row a client. A step gathers one batch of each client, runs the stacked model once, and moves every row by its own
clipped gradient. Clients that hold less are handled in two ways: a short batch is padded, and its padding weighs
nothing; a client whose batches are used up leaves the computation, which the order of the rows makes a cut.

What cannot be stacked raises `NotStackableError` before a step is taken, and is trained one by one.
Importing this module imports torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.task import Examples, Recipe, Trained
from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
from shared.tasks.stacked import Descent, NotStackableError, Stack, stack, turned

CACHE_BYTES = 5 << 19
"""Parameters of the clients of one chunk on a CPU: what a step reads and writes again should stay in its cache."""

DEVICE_BYTES = 512 << 20
"""The same on a GPU, where few large steps are worth more than near memory."""

BATCH_BYTES = 16 << 20
"""One batch of each client of a chunk."""

ROUNDED = 8
"""Batches are padded to a multiple of it: for each new width, kernels are made and views taken anew."""

Client = tuple[Examples, Recipe]


def train_stacked(module: nn.Module, clients: Sequence[Client], *, workers: int = 1) -> Iterator[tuple[int, Trained]]:
    """Train each client from the module's weights; yield its position and what it sends back, in no promised order.

    At most `workers` + 1 chunks are in memory, each trained by one thread; the same arguments give the same bytes.

    Raises:
        NotStackableError: this module has to be trained one client at a time.
    """
    if any(recipe.proximal or recipe.correction is not None or recipe.stop is not None for _, recipe in clients):
        raise NotStackableError("a recipe adds to the gradients, or may stop early")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = module.to(device).train()
    stacked = stack(module, clients[0][0] if clients else None, device)
    width = sum(values.numel() for values in module.parameters())
    chunks = _chunks(clients, width=width, budget=CACHE_BYTES if device.type == "cpu" else DEVICE_BYTES)

    def train(chunk: list[int]) -> list[tuple[int, Trained]]:
        torch.set_num_threads(1)  # of this thread: the workers share the cores
        return list(zip(chunk, _train(module, stacked, [clients[at] for at in chunk], device), strict=True))

    workers = workers if device.type == "cpu" else 1
    if workers == 1:
        for chunk in chunks:
            yield from train(chunk)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="clients") as pool:
        waiting: deque[Future[list[tuple[int, Trained]]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(train, chunk))
            if len(waiting) > workers:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def _chunks(clients: Sequence[Client], *, width: int, budget: int) -> Iterator[list[int]]:
    """Positions of the clients that are trained together: those with about as many steps and as short a last batch."""
    most = max(1, budget // (4 * max(width, 1)))
    most = -(-len(clients) // max(1, -(-len(clients) // most)))  # rather three chunks of four than two of five and two
    chunk: list[int] = []
    held = 0
    for at in sorted(range(len(clients)), key=lambda at: (-_steps(*clients[at]), -len(clients[at][0]), at)):
        data, recipe = clients[at]
        size = data.x.nbytes // max(len(data), 1) * recipe.batch_size
        if chunk and (len(chunk) == most or held + size > BATCH_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(at)
        held += size
    if chunk:
        yield chunk


def _steps(data: Examples, recipe: Recipe) -> int:
    return recipe.epochs * -(-len(data) // recipe.batch_size)


class _Batches:
    """One batch of each client, step by step, drawn as `network._descend` draws them."""

    def __init__(self, clients: Sequence[Client], device: torch.device) -> None:
        self._data = [data for data, _ in clients]
        self._drawn = [_drawn(*client) for client in clients]
        self._widest = max((len(part) for drawn in self._drawn for part in drawn), default=0)
        self._x = np.zeros((len(clients) * self._widest, *clients[0][0].x.shape[1:]), dtype=np.float32)
        self._y = np.zeros((len(clients), self._widest), dtype=np.int64)
        self._device = device

    def at(self, step: int, active: int) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
        """Inputs [active, batch, *input_shape], labels [active, batch], and how many of each batch are not padding."""
        counts = np.array([len(drawn[step]) for drawn in self._drawn[:active]])
        batch = min(self._widest, -(-int(counts.max()) // ROUNDED) * ROUNDED)
        x = self._x[: active * batch].reshape(active, batch, *self._x.shape[1:])
        y = self._y[:active, :batch]
        for at, (data, drawn, count) in enumerate(zip(self._data, self._drawn, counts.tolist(), strict=False)):
            # numpy copies once more unless it may clip; no index is out of range
            data.x.take(drawn[step], axis=0, out=x[at, :count], mode="clip")
            y[at, :count] = data.y[drawn[step]]
            x[at, count:] = 0.0
        return torch.from_numpy(x).to(self._device), torch.from_numpy(y).to(self._device), counts


def _drawn(data: Examples, recipe: Recipe) -> list[NDArray[np.int64]]:
    order = np.random.Generator(np.random.PCG64(recipe.seed))
    return [part for _ in range(recipe.epochs) for part in batches(order, len(data), recipe.batch_size)]


class _Rows:
    """The parameters of the clients of a chunk, or as much of anything else: one row a client."""

    def __init__(self, module: nn.Module, clients: int, device: torch.device) -> None:
        self._shapes = {name: values.shape for name, values in module.named_parameters()}
        self.all = torch.zeros(clients, sum(shape.numel() for shape in self._shapes.values()), device=device)

    def named(self, active: int) -> dict[str, torch.Tensor]:
        """Views [active, *shape] of the first rows."""
        parts = self.all[:active].split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}


def _train(module: nn.Module, stacked: Stack, clients: list[Client], device: torch.device) -> list[Trained]:
    """Train the clients of one chunk; those with more steps come first."""
    weights, velocity, gradients = (_Rows(module, len(clients), device) for _ in range(3))
    for name, values in weights.named(len(clients)).items():
        first = module.get_parameter(name).detach()
        values.copy_(turned(first, stacked.columns[name]) if name in stacked.columns else first)
    losses = torch.zeros(len(clients), dtype=torch.float64, device=device)
    steps = [_steps(*client) for client in clients]
    rates = [recipe.learning_rate for _, recipe in clients]
    last_epoch = np.array([of - of // max(recipe.epochs, 1) for of, (_, recipe) in zip(steps, clients, strict=True)])
    drawn = _Batches(clients, device)
    bound: tuple[tuple[int, ...], Descent] | None = None
    for step in range(max(steps)):
        active = sum(of > step for of in steps)
        x, y, counts = drawn.at(step, active)
        if bound is None or bound[0] != x.shape:
            bound = x.shape, stacked.bind(weights.named(active), gradients.named(active), x.shape)
        share = (np.arange(y.shape[1]) < counts[:, None]) / counts[:, None]
        loss = bound[1](x, y, torch.from_numpy(share.astype(np.float32)).to(device))
        _step(weights.all[:active], velocity.all[:active], gradients.all[:active], rates[:active])
        counted = np.where(last_epoch[:active] <= step, counts, 0)
        losses[:active] += loss.double() * torch.from_numpy(counted).to(device)
    ended = weights.named(len(clients))
    for name, (channels, places) in stacked.columns.items():
        ended[name] = turned(ended[name], (places, channels))
    return _results(module, ended, losses.tolist(), clients)


def _step(weights: torch.Tensor, velocity: torch.Tensor, gradients: torch.Tensor, rates: list[float]) -> None:
    """`network._step` for every row."""
    scale = (CLIP / (torch.linalg.vector_norm(gradients, dim=1) + 1e-12)).tolist()
    for row in [row for row, at_most in enumerate(scale) if at_most < 1.0]:
        gradients[row].mul_(scale[row])
    for rows in _equal(rates):
        # one pass over memory instead of seven; it knows no rate for each row
        torch._fused_sgd_(
            [weights[rows]],
            [gradients[rows]],
            [velocity[rows]],
            weight_decay=WEIGHT_DECAY,
            momentum=MOMENTUM,
            lr=rates[rows.start],
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


def _equal(rates: list[float]) -> Iterator[slice]:
    """Runs of rows with one learning rate."""
    first = 0
    for row in range(1, len(rates) + 1):
        if row == len(rates) or rates[row] != rates[first]:
            yield slice(first, row)
            first = row


def _results(
    module: nn.Module, weights: Mapping[str, torch.Tensor], losses: list[float], clients: list[Client]
) -> list[Trained]:
    """Each row as the weights of a model, in the order of the model's own state."""
    names = list(module.state_dict())
    fixed = {name: values.detach().cpu().numpy() for name, values in module.named_buffers()}
    rows = {name: values.cpu().numpy() for name, values in weights.items()}
    return [
        Trained(
            weights={name: rows[name][at] if name in rows else fixed[name].copy() for name in names},
            examples=len(data),
            loss=loss / max(len(data), 1),
            steps=_steps(data, recipe),
        )
        for at, (loss, (data, recipe)) in enumerate(zip(losses, clients, strict=True))
    ]
