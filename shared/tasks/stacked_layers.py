"""Layers of many clients at once, forwards and backwards, each client with parameters of its own.

Activations are [clients, batch, …]. A layer is made for one shape of them, and keeps what it writes into and the views
it reads through: a step of small clients is over so soon that to make either anew would cost as much as the arithmetic,
and every call of torch is a turn at the interpreter's lock, for which other threads wait. Autograd, too, would cost as
much as the arithmetic, so the formulas are written out.

Importing this module imports torch.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from shared.tasks.layers import MeanOver, Normalise

LARGE = 1 << 20
"""Multiplications of a matrix product from which oneDNN's pays for being called for each client."""

Shape = tuple[int, ...]
"""[clients, batch, …]"""

_relu_backward = torch.ops.aten.threshold_backward.grad_input
_onednn_linear = torch.ops.mkldnn._linear_pointwise.default


class Own(NamedTuple):
    """What a layer learns, one row a client, and where its gradients belong."""

    weight: torch.Tensor
    bias: torch.Tensor
    of_weight: torch.Tensor
    of_bias: torch.Tensor


class Layer(Protocol):
    """A layer of many clients, for one shape of input."""

    shape: Shape
    """Of what it makes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What it makes of x, over which it may write. It is overwritten by the next call."""
        ...

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        """From the gradient of what it made last: write those of its parameters; return that of its input if wanted."""
        ...


class Linear:
    """[clients, batch, inputs] by weight [clients, outputs, inputs] to [clients, batch, outputs]."""

    def __init__(self, shape: Shape, own: Own) -> None:
        clients, batch, inputs = shape
        outputs = own.weight.shape[1]
        self.shape: Shape = (clients, batch, outputs)
        weight = own.weight
        large = batch * inputs * outputs >= LARGE and weight.device.type == "cpu" and weight.dtype == torch.float32
        self._multiply = _each if large else _at_once
        self._own, self._bias = own, own.bias[:, None]
        self._turned, self._straight = weight.transpose(1, 2), weight
        self._made, self._of_x = weight.new_empty(self.shape), weight.new_empty(shape)
        self._x = self._of_x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._x = x
        self._multiply(x, self._turned, self._made)
        return self._made.add_(self._bias)

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        self._multiply(gradient.transpose(1, 2), self._x, self._own.of_weight)
        torch.sum(gradient, 1, out=self._own.of_bias)
        if not onwards:
            return None
        self._multiply(gradient, self._straight, self._of_x)
        return self._of_x


def _at_once(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    torch.bmm(left, right, out=out)


def _each(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    pairs = zip(left.unbind(), right.transpose(1, 2).unbind(), strict=True)
    torch.stack([_onednn_linear(one, other, None, "none", [], "") for one, other in pairs], out=out)


class Rectify:
    """Zeros over what is negative, in whatever order the axes lie in memory."""

    def __init__(self, shape: Shape) -> None:
        self.shape: Shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._x = x.relu_()
        return x

    def backward(self, gradient: torch.Tensor, _onwards: bool) -> torch.Tensor:
        into = gradient if gradient.stride() == self._x.stride() else torch.empty_like(self._x)
        _relu_backward(gradient, self._x, 0, grad_input=into)
        return into


class Standardise:
    """`Normalise`, with the same mean and deviation for all."""

    def __init__(self, layer: Normalise, shape: Shape) -> None:
        self.shape: Shape = shape
        self._mean, self._deviation = layer.mean, layer.deviation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sub_(self._mean).div_(self._deviation)

    def backward(self, gradient: torch.Tensor, _onwards: bool) -> torch.Tensor:
        return gradient / self._deviation


class Flatten:
    """[clients, batch, channels, *places] to [clients, batch, places · channels], the order of memory."""

    def __init__(self, shape: Shape) -> None:
        clients, batch, channels, *places = shape
        self._apart = (*places, channels)
        self.shape: Shape = (clients, batch, torch.Size(self._apart).numel())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.movedim(2, -1).flatten(2)

    def backward(self, gradient: torch.Tensor, _onwards: bool) -> torch.Tensor:
        return gradient.unflatten(2, self._apart).movedim(-1, 2)


class Mean:
    """`MeanOver` axes of each example."""

    def __init__(self, layer: MeanOver, shape: Shape) -> None:
        self._axes = sorted(axis + 1 for axis in layer.axes)
        self._whole = shape
        self.shape: Shape = tuple(size for axis, size in enumerate(shape) if axis not in self._axes)
        self._many = torch.Size(shape).numel() // max(torch.Size(self.shape).numel(), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=self._axes)

    def backward(self, gradient: torch.Tensor, _onwards: bool) -> torch.Tensor:
        gradient = gradient / self._many
        for axis in self._axes:
            gradient = gradient.unsqueeze(axis)
        return gradient.expand(self._whole)
