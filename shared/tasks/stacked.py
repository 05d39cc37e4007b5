"""Losses and gradients of many clients' copies of a module as one computation. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from shared.task import Examples
from shared.tasks.layers import MeanOver, Normalise
from shared.tasks.stacked_convolutions import convolution, padding_of
from shared.tasks.stacked_layers import Flatten, Layer, Linear, Mean, Own, Rectify, Shape, Standardise

Parameters = Mapping[str, torch.Tensor]
"""Name → [clients, *shape]."""

Descent = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Inputs [clients, batch, *input_shape], labels [clients, batch] and the weight of each example in its client's loss
[clients, batch] → losses [clients]; the gradients are written where they belong. It may write over the inputs."""


class Stack(NamedTuple):
    """A module for many clients at once."""

    columns: Mapping[str, tuple[int, int]]
    """Matrices that are kept with other columns than the module's: (channels, places) of what they read, of which the
    module has the places innermost, and we the channels."""

    bind: Callable[[Parameters, Parameters, Shape], Descent]
    """Of the clients' parameters, of where their gradients belong, and of the shape of the inputs."""


class NotStackableError(Exception):
    """The module does more than apply its parameters to its input."""


def stack(module: nn.Module, sample: Examples | None, device: torch.device) -> Stack:
    """The module's losses and gradients for many clients' parameters at once.

    A chain of the layers our families are made of is stacked by hand (`shared.tasks.stacked_layers`). Any other module
    goes through `torch.func.vmap`.

    Raises:
        NotStackableError: it draws random numbers, keeps statistics, shares or freezes parameters.
    """
    _check_stateless(module)
    layers = list(module.named_children())
    if sample is not None and type(module) is nn.Sequential and all(_known(layer) for _, layer in layers):
        columns = _columns(layers, torch.zeros(1, *sample.x.shape[1:], device=device))
        if columns is not None:
            return Stack(columns, lambda weights, gradients, shape: _chain(layers, weights, gradients, shape))
    mapped = _mapped(module)
    if sample is not None and len(sample):
        try:  # vmap refuses what it cannot map when it meets it, so let it meet everything once
            one = {name: values.detach()[None] for name, values in module.named_parameters()}
            mapped(one, torch.from_numpy(np.array(sample.x[None, :1])).to(device))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise NotStackableError(str(error)[:300]) from error
    return Stack({}, lambda weights, gradients, _: _by_autograd(mapped, weights, gradients))


def turned(values: torch.Tensor, apart: tuple[int, int]) -> torch.Tensor:
    """The columns [..., a · b] in the order [..., b · a]."""
    return values.unflatten(-1, apart).transpose(-1, -2).flatten(-2)


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
            return type(layer) in {nn.Conv1d, nn.Conv2d} and plain and _even(layer)
        case nn.Linear():
            return type(layer) is nn.Linear and layer.bias is not None
        case nn.Flatten():
            return (layer.start_dim, layer.end_dim) == (1, -1)
        case MeanOver():
            return all(axis > 0 for axis in layer.axes)
        case _:
            return type(layer) in {Normalise, nn.ReLU}


def _even(layer: nn.Conv1d | nn.Conv2d) -> bool:
    try:
        padding_of(layer)
    except ValueError:
        return False
    return True


@torch.no_grad()
def _columns(layers: list[tuple[str, nn.Module]], x: torch.Tensor) -> dict[str, tuple[int, int]] | None:
    """Matrices that read what was flattened, of which only the order is ours; None if anything else depends on it."""
    found: dict[str, tuple[int, int]] = {}
    flat: tuple[int, int] | None = None
    for name, layer in layers:
        if flat is not None and isinstance(layer, nn.Linear):
            found[f"{name}.weight"], flat = flat, None
        elif flat is not None and not isinstance(layer, nn.ReLU):
            return None
        if isinstance(layer, nn.Flatten) and x.dim() > 2:
            flat = x.shape[1], x[0, 0].numel()
        x = layer(x)
    return None if flat is not None else found


@torch.no_grad()
def _chain(layers: list[tuple[str, nn.Module]], weights: Parameters, gradients: Parameters, shape: Shape) -> Descent:
    """Forwards through the known layers, and back to the first one that has parameters."""
    made: list[Layer] = []
    learning = [at for at, (_, layer) in enumerate(layers) if list(layer.parameters())]
    for name, layer in layers:
        names = f"{name}.weight", f"{name}.bias"
        own = Own(*(of[part] for of in (weights, gradients) for part in names)) if names[0] in weights else None
        made.append(_layer(layer, shape, own))
        shape = made[-1].shape
    first = learning[0] if learning else len(layers)

    def descend(x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            for layer in made:
                x = layer.forward(x)
            y, share = y[..., None], share[..., None]
            said = x.log_softmax(dim=2)
            losses = (said.gather(2, y) * share).sum(dim=(1, 2)).neg_()
            towards: torch.Tensor | None = said.exp_().mul_(share).scatter_add_(2, y, -share)
            for at in range(len(made) - 1, first - 1, -1):
                assert towards is not None  # noqa: S101 - asked for; this tells the type checker
                towards = made[at].backward(towards, at > first)
            return losses

    return descend


def _layer(layer: nn.Module, shape: Shape, own: Own | None) -> Layer:
    match layer:
        case nn.Conv1d() | nn.Conv2d() if own is not None:
            return convolution(layer, shape, own)
        case nn.Linear() if own is not None:
            return Linear(shape, own)
        case nn.ReLU():
            return Rectify(shape)
        case Normalise():
            return Standardise(layer, shape)
        case nn.Flatten():
            return Flatten(shape)
        case MeanOver():
            return Mean(layer, shape)
        case _:
            raise NotImplementedError(type(layer).__name__)


def _mapped(module: nn.Module) -> Callable[[Parameters, torch.Tensor], torch.Tensor]:
    buffers = dict(module.named_buffers())

    def one(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(module, (parameters, buffers), (x,))
        return made

    mapped = torch.func.vmap(one, randomness="error")

    def forward(parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = mapped(dict(parameters), x)
        return made

    return forward


def _by_autograd(
    forward: Callable[[Parameters, torch.Tensor], torch.Tensor], weights: Parameters, gradients: Parameters
) -> Descent:
    def descend(x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        leaves = {name: values.detach().requires_grad_() for name, values in weights.items()}
        logits = forward(leaves, x)
        each = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        losses = (each.view_as(share) * share).sum(dim=1)
        made = torch.autograd.grad(losses.sum(), list(leaves.values()))
        for name, gradient in zip(leaves, made, strict=True):
            gradients[name].copy_(gradient)
        return losses.detach()

    return descend
