"""Many clients of a round trained as one computation; each ends where its own training would have ended.

The clients begin with the same weights and part ways with the first step, so that their parameters are rows of
one matrix. A step gathers one batch of each client, runs the stacked model once, and moves every row by its own
clipped gradient. Clients that hold less are handled in two ways: a short batch is padded, and its padding weighs
nothing; a client whose batches are used up leaves the computation, which the order of the rows makes a cut.

What cannot be stacked raises `NotStackableError` before a step is taken, and is trained one by one.
Importing this module imports torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.task import Examples, Recipe, Trained
from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
from shared.tasks.layers import MeanOver, Normalise

CACHE_BYTES = 2 << 20
"""Parameters of the clients of one chunk on a CPU: what a step reads and writes again should stay in its cache."""

DEVICE_BYTES = 512 << 20
"""The same on a GPU, where few large steps are worth more than near memory."""

DATA_BYTES = 128 << 20
"""Examples of the clients of one chunk; a client that holds more is a chunk of its own."""

Parameters = Mapping[str, torch.Tensor]
"""Name → [clients, *shape]."""

Forward = Callable[[Parameters, torch.Tensor], torch.Tensor]
"""Stacked parameters and inputs [clients, batch, *input_shape] → logits [clients, batch, classes]."""

Client = tuple[Examples, Recipe]


class NotStackableError(Exception):
    """The module does more than apply its parameters to its input."""


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
    forward = stack(module, clients[0][0] if clients else None, device)
    width = sum(values.numel() for values in module.parameters())
    chunks = _chunks(clients, width=width, budget=CACHE_BYTES if device.type == "cpu" else DEVICE_BYTES)

    def train(chunk: list[int]) -> list[tuple[int, Trained]]:
        torch.set_num_threads(1)  # of this thread: the workers share the cores
        return list(zip(chunk, _train(module, forward, [clients[at] for at in chunk], device), strict=True))

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


def stack(module: nn.Module, sample: Examples | None, device: torch.device) -> Forward:
    """The module's forward pass over many clients' parameters at once.

    A chain of the layers our families are made of is stacked by hand: convolutions by groups, linear layers as
    batched matrix products. Any other module goes through `torch.func.vmap`.

    Raises:
        NotStackableError: it draws random numbers, keeps statistics, shares or freezes parameters.
    """
    _check_stateless(module)
    layers = list(module.named_children())
    if type(module) is nn.Sequential and all(_known(layer) for _, layer in layers):
        return lambda parameters, x: _through(layers, parameters, x)
    forward = _mapped(module)
    if sample is not None and len(sample):
        try:  # vmap refuses what it cannot map when it meets it, so let it meet everything once
            one = {name: values.detach()[None] for name, values in module.named_parameters()}
            forward(one, torch.from_numpy(np.array(sample.x[None, :1])).to(device))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise NotStackableError(str(error)[:300]) from error
    return forward


def _check_stateless(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if list(part.buffers(recurse=False)) and not isinstance(part, Normalise):
            raise NotStackableError(f"{name} keeps statistics while it trains")
    if not all(values.dim() for values in module.parameters()):
        raise NotStackableError("a parameter has no axis")
    if not all(values.requires_grad for values in module.parameters()):
        raise NotStackableError("some parameters are frozen")
    if len(module.state_dict()) != len(list(module.parameters())) + len(list(module.buffers())):
        raise NotStackableError("two names share a parameter")


def _known(layer: nn.Module) -> bool:
    match layer:
        case nn.Conv1d() | nn.Conv2d():
            plain = layer.groups == 1 and layer.padding_mode == "zeros" and layer.bias is not None
            return type(layer) in {nn.Conv1d, nn.Conv2d} and plain
        case nn.Linear():
            return type(layer) is nn.Linear and layer.bias is not None
        case nn.Flatten():
            return (layer.start_dim, layer.end_dim) == (1, -1)
        case MeanOver():
            return all(axis > 0 for axis in layer.axes)
        case _:
            return type(layer) in {Normalise, nn.ReLU}


def _through(layers: list[tuple[str, nn.Module]], parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
    """Run a chain of known layers; a convolution leaves [batch, clients, …] in memory, which the next one takes."""
    for name, layer in layers:
        match layer:
            case nn.Conv1d() | nn.Conv2d():
                weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
                clients, batch = x.shape[:2]
                wide = x.transpose(0, 1).reshape(batch, clients * x.shape[2], *x.shape[3:])
                convolve = nn.functional.conv1d if isinstance(layer, nn.Conv1d) else nn.functional.conv2d
                made = convolve(
                    wide, weight.flatten(0, 1), bias.flatten(), layer.stride, layer.padding, layer.dilation, clients
                )
                x = made.unflatten(1, (clients, weight.shape[1])).transpose(0, 1)
            case nn.Linear():
                weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
                x = torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
            case nn.Flatten():
                x = x.flatten(2)
            case MeanOver():
                x = x.mean(dim=[axis + 1 for axis in layer.axes])
            case _:
                x = layer(x)
    return x


def _mapped(module: nn.Module) -> Forward:
    buffers = dict(module.named_buffers())

    def one(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(module, (parameters, buffers), (x,))
        return made

    mapped = torch.func.vmap(one, randomness="error")

    def forward(parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = mapped(dict(parameters), x)
        return made

    return forward


def _chunks(clients: Sequence[Client], *, width: int, budget: int) -> Iterator[list[int]]:
    """Positions of the clients that are trained together: those with about as many steps."""
    most = max(1, budget // (4 * max(width, 1)))
    chunk: list[int] = []
    held = 0
    for at in sorted(range(len(clients)), key=lambda at: (-_steps(*clients[at]), at)):
        size = clients[at][0].x.nbytes
        if chunk and (len(chunk) == most or held + size > DATA_BYTES):
            yield chunk
            chunk, held = [], 0
        chunk.append(at)
        held += size
    if chunk:
        yield chunk


def _steps(data: Examples, recipe: Recipe) -> int:
    return recipe.epochs * -(-len(data) // recipe.batch_size)


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Which examples each client sees at each step."""

    steps: list[int]
    """Of each client, never rising."""

    chosen: torch.Tensor
    """[steps, clients, batch]: rows of the chunk's examples; padding repeats an example of the same client."""

    counts: NDArray[np.int64]
    """[steps, clients]: how many of a batch are not padding."""


def _schedule(clients: Sequence[Client], device: torch.device) -> _Schedule:
    """Draw the batches as `network._descend` draws them."""
    steps = [_steps(*client) for client in clients]
    widest = max(min(recipe.batch_size, max(len(data), 1)) for data, recipe in clients)
    chosen = np.zeros((max(steps), len(clients), widest), dtype=np.int64)
    counts = np.zeros((max(steps), len(clients)), dtype=np.int64)
    first = 0
    for at, (data, recipe) in enumerate(clients):
        order = np.random.Generator(np.random.PCG64(recipe.seed))
        drawn = [part for _ in range(recipe.epochs) for part in batches(order, len(data), recipe.batch_size)]
        chosen[:, at] = first
        for step, part in enumerate(drawn):
            chosen[step, at, : len(part)] = part + first
            counts[step, at] = len(part)
        first += len(data)
    return _Schedule(steps, torch.from_numpy(chosen).to(device), counts)


def _train(module: nn.Module, forward: Forward, clients: list[Client], device: torch.device) -> list[Trained]:
    """Train the clients of one chunk; those with more steps come first."""
    named = list(module.named_parameters())
    start = torch.cat([values.detach().flatten() for _, values in named])
    weights = start.repeat(len(clients), 1)
    losses = torch.zeros(len(clients), dtype=torch.float64, device=device)
    plan = _schedule(clients, device)
    x = torch.from_numpy(np.concatenate([data.x for data, _ in clients])).to(device)
    y = torch.from_numpy(np.concatenate([data.y for data, _ in clients])).to(device)
    velocity = torch.zeros_like(weights)
    rates = torch.tensor([[recipe.learning_rate] for _, recipe in clients], device=device)
    last_epoch = np.array([_steps(*client) - _steps(*client) // max(client[1].epochs, 1) for client in clients])
    for step in range(max(plan.steps)):
        active = sum(steps > step for steps in plan.steps)
        counts = plan.counts[step, :active]
        batch = int(counts.max())
        rows = plan.chosen[step, :active, :batch].flatten()
        share = (np.arange(batch) < counts[:, None]) / counts[:, None]
        parameters = _split(weights[:active], named)
        loss = _loss(
            forward(parameters, x[rows].unflatten(0, (active, batch))),
            y[rows],
            torch.from_numpy(share.astype(np.float32)).to(device),
        )
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        _step(weights[:active], velocity[:active], gradients, rates[:active])
        counted = np.where(last_epoch[:active] <= step, counts, 0)
        losses[:active] += loss.detach().double() * torch.from_numpy(counted).to(device)
    return _results(module, named, weights.cpu(), losses.cpu(), clients)


def _split(weights: torch.Tensor, named: list[tuple[str, nn.Parameter]]) -> dict[str, torch.Tensor]:
    """Views of the rows as the tensors of the model; leaves, so that each has a gradient of its own."""
    parts = weights.split([values.numel() for _, values in named], dim=1)
    return {
        name: part.unflatten(1, values.shape).detach().requires_grad_()
        for (name, values), part in zip(named, parts, strict=True)
    }


def _loss(logits: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Mean loss of each client's batch, [clients]; `share` [clients, batch] is 1 / size, and 0 for padding."""
    each = nn.functional.cross_entropy(logits.flatten(0, 1), y, reduction="none")
    return (each.view_as(share) * share).sum(dim=1)


def _step(
    weights: torch.Tensor, velocity: torch.Tensor, gradients: tuple[torch.Tensor, ...], rates: torch.Tensor
) -> None:
    """`network._step` for every row."""
    with torch.no_grad():
        gradient = torch.cat([part.flatten(1) for part in gradients], dim=1)
        norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        gradient.mul_((CLIP / (norm + 1e-12)).clamp_(max=1.0))
        velocity.mul_(MOMENTUM).add_(gradient).add_(weights, alpha=WEIGHT_DECAY)
        weights.addcmul_(velocity, rates, value=-1)


def _results(
    module: nn.Module,
    named: list[tuple[str, nn.Parameter]],
    weights: torch.Tensor,
    losses: torch.Tensor,
    clients: list[Client],
) -> list[Trained]:
    """Each row as the weights of a model, in the order of the model's own state."""
    fixed = {name: values.detach().cpu().numpy() for name, values in module.named_buffers()}
    names = list(module.state_dict())
    trained = []
    for row, loss, (data, recipe) in zip(weights, losses.tolist(), clients, strict=True):
        tensors = {name: part.detach().numpy() for name, part in _split(row[None], named).items()}
        mine = {name: tensors[name][0].copy() if name in tensors else fixed[name].copy() for name in names}
        trained.append(
            Trained(weights=mine, examples=len(data), loss=loss / max(len(data), 1), steps=_steps(data, recipe))
        )
    return trained
