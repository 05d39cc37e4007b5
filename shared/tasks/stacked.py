"""Losses and gradients of many clients' copies of a module as one computation. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from shared.task import Examples
from shared.tasks.layers import MeanOver, Normalise
from shared.tasks.stacked_layers import Made, Pullback, convolve, linear, padding_of, rectify

Parameters = Mapping[str, torch.Tensor]
"""Name → [clients, *shape]."""

Descent = Callable[[Parameters, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, Sequence[torch.Tensor]]]
"""Parameters, inputs [clients, batch, *input_shape], labels [clients, batch] and the weight of each example in its
client's loss [clients, batch] → losses [clients], and the gradient of each parameter. It may write over the inputs."""


class NotStackableError(Exception):
    """The module does more than apply its parameters to its input."""


def stack(module: nn.Module, sample: Examples | None, device: torch.device) -> Descent:
    """The module's losses and gradients for many clients' parameters at once.

    A chain of the layers our families are made of is stacked by hand (`shared.tasks.stacked_layers`). Any other module
    goes through `torch.func.vmap`.

    Raises:
        NotStackableError: it draws random numbers, keeps statistics, shares or freezes parameters.
    """
    _check_stateless(module)
    layers = list(module.named_children())
    if type(module) is nn.Sequential and all(_known(layer) for _, layer in layers):
        return lambda parameters, x, y, share: _chain(layers, parameters, x, y, share)
    mapped = _mapped(module)
    if sample is not None and len(sample):
        try:  # vmap refuses what it cannot map when it meets it, so let it meet everything once
            one = {name: values.detach()[None] for name, values in module.named_parameters()}
            mapped(one, torch.from_numpy(np.array(sample.x[None, :1])).to(device))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise NotStackableError(str(error)[:300]) from error
    return lambda parameters, x, y, share: _by_autograd(mapped, parameters, x, y, share)


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
def _chain(
    layers: list[tuple[str, nn.Module]],
    parameters: Parameters,
    x: torch.Tensor,
    y: torch.Tensor,
    share: torch.Tensor,
) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    """Forwards through the known layers, and back to the first one that has parameters."""
    pullbacks: list[Pullback] = []
    learning = [at for at, (_, layer) in enumerate(layers) if list(layer.parameters())]
    for name, layer in layers:
        x, pullback = _forward(layer, x, parameters.get(f"{name}.weight"), parameters.get(f"{name}.bias"))
        pullbacks.append(pullback)
    said = x.log_softmax(dim=2)
    losses = -(said.gather(2, y[..., None]).squeeze(2) * share).sum(dim=1)
    towards = said.exp_().scatter_add_(2, y[..., None], -torch.ones_like(share)[..., None]).mul_(share[..., None])
    gradients: list[torch.Tensor] = []
    first = learning[0] if learning else len(layers)
    for at in range(len(layers) - 1, first - 1, -1):
        further, mine = pullbacks[at](towards, at > first)
        gradients[:0] = mine
        if further is not None:
            towards = further
    return losses, gradients


def _forward(layer: nn.Module, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> Made:
    match layer:
        case nn.Conv1d() | nn.Conv2d() if weight is not None and bias is not None:
            return convolve(layer, x, weight, bias)
        case nn.Linear() if weight is not None and bias is not None:
            return linear(x, weight, bias)
        case nn.ReLU():
            return rectify(x)
        case Normalise():
            deviation = layer.deviation
            return x.sub_(layer.mean).div_(deviation), lambda gradient, _: (gradient / deviation, ())
        case nn.Flatten():
            shape = x.shape[2:]
            return x.flatten(2), lambda gradient, _: (gradient.unflatten(2, shape), ())
        case MeanOver():
            axes = sorted(axis + 1 for axis in layer.axes)
            whole, many = x.shape, x[0, 0].numel() // x.mean(dim=axes)[0, 0].numel()
            return x.mean(dim=axes), lambda gradient, _: (_spread(gradient, axes, whole) / many, ())
        case _:
            raise NotImplementedError(type(layer).__name__)


def _spread(gradient: torch.Tensor, axes: list[int], whole: torch.Size) -> torch.Tensor:
    for axis in axes:
        gradient = gradient.unsqueeze(axis)
    return gradient.expand(whole)


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
    forward: Callable[[Parameters, torch.Tensor], torch.Tensor],
    parameters: Parameters,
    x: torch.Tensor,
    y: torch.Tensor,
    share: torch.Tensor,
) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
    leaves = {name: values.detach().requires_grad_() for name, values in parameters.items()}
    logits = forward(leaves, x)
    each = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    losses = (each.view_as(share) * share).sum(dim=1)
    return losses.detach(), torch.autograd.grad(losses.sum(), list(leaves.values()))
