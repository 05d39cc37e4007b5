"""Layers of many clients at once, forwards and backwards, each client with parameters of its own.

Activations are [clients, batch, …]. A layer returns what it made and its pullback: from the gradient of what it made to
the gradient of its input (left out where nobody needs it) and of its parameters. On a processor these decide the speed:

- a convolution of many channels is one grouped convolution; its gradient with respect to its input is not, since
  oneDNN's grouped backward pass is ten times slower than its forward pass. It is put together from forward passes,
  one for each phase of the stride;
- a convolution of few channels is a batch of matrix products over the windows, as oneDNN has no fast grouped one;
- autograd costs as much as the arithmetic of a small client, and its gradient of a matrix is a transposed one, which
  makes every later pass jump through memory: so the formulas are written out.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

LANES = 16
"""Channels of a client that fill a vector register (AVX-512); oneDNN's grouped convolutions want multiples of it."""

Pullback = Callable[[torch.Tensor, bool], tuple[torch.Tensor | None, Sequence[torch.Tensor]]]
"""Gradient of the output, and whether that of the input is wanted → it, and those of the parameters."""

Made = tuple[torch.Tensor, Pullback]

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """Of a convolution, along the last two axes."""

    stride: Pair
    padding: Pair
    dilation: Pair


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Made:
    """Map x [clients, batch, inputs] by weight [clients, outputs, inputs] to [clients, batch, outputs]."""

    def pull(gradient: torch.Tensor, onwards: bool) -> tuple[torch.Tensor | None, Sequence[torch.Tensor]]:
        of_weight = torch.bmm(gradient.transpose(1, 2), x)
        return torch.bmm(gradient, weight) if onwards else None, (of_weight, gradient.sum(1))

    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2)), pull


def rectify(x: torch.Tensor) -> Made:
    """Write zeros over what is negative in x, which may lie in memory in any order of its axes."""
    x.relu_()

    def pull(gradient: torch.Tensor, _onwards: bool) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        into = gradient if gradient.stride() == x.stride() else torch.empty_like(x)
        return torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=into), ()

    return x, pull


def convolve(layer: nn.Conv1d | nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Made:
    """Map x [clients, batch, channels, …] by weight [clients, outputs, channels, …] to [clients, batch, outputs, …].

    The result lies in memory as [batch, clients, …], which is how the next convolution reads it.
    """
    padding = padding_of(layer)
    if isinstance(layer, nn.Conv2d):
        return _convolve(x, weight, bias, Geometry(_pair(layer.stride), _pair(padding), _pair(layer.dilation)))
    geometry = Geometry((1, layer.stride[0]), (0, padding[0]), (1, layer.dilation[0]))
    made, planar = _convolve(x.unsqueeze(-2), weight.unsqueeze(-2), bias, geometry)

    def pull(gradient: torch.Tensor, onwards: bool) -> tuple[torch.Tensor | None, Sequence[torch.Tensor]]:
        of_x, (of_weight, of_bias) = planar(gradient.unsqueeze(-2), onwards)
        return None if of_x is None else of_x.squeeze(-2), (of_weight.squeeze(-2), of_bias)

    return made.squeeze(-2), pull


def padding_of(layer: nn.Conv1d | nn.Conv2d) -> tuple[int, ...]:
    """Zeros added at both ends of each axis.

    Raises:
        ValueError: the ends differ, as with `padding="same"` and a window of even width.
    """
    if not isinstance(layer.padding, str):
        return tuple(layer.padding)
    spans = [across * (size - 1) for across, size in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "valid":
        return tuple(0 for _ in spans)
    if any(span % 2 for span in spans):
        raise ValueError("the padding is not the same at both ends")
    return tuple(span // 2 for span in spans)


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, geometry: Geometry) -> Made:
    outputs, channels = weight.shape[1:3]
    if x.is_cuda or (channels % LANES == 0 and outputs % LANES == 0):
        return _grouped(x, weight, bias, geometry)
    return _by_windows(x, weight, bias, geometry)


def _grouped(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, geometry: Geometry) -> Made:
    clients, outputs = weight.shape[:2]
    wide, kernels = x.transpose(0, 1).flatten(1, 2), weight.flatten(0, 1)

    def pull(gradient: torch.Tensor, onwards: bool) -> tuple[torch.Tensor | None, Sequence[torch.Tensor]]:
        gradient = gradient.transpose(0, 1).flatten(1, 2).contiguous()
        by_phases = not x.is_cuda and geometry.dilation == (1, 1)
        of_wide, of_kernels, of_bias = torch.ops.aten.convolution_backward(
            gradient, wide, kernels, [clients * outputs], *geometry, False, [0, 0], clients,
            [onwards and not by_phases, True, True],
        )  # fmt: skip
        if onwards and by_phases:
            of_wide = _input_gradient(gradient, weight, wide.shape, geometry)
        of_x = of_wide.unflatten(1, (clients, -1)).transpose(0, 1) if onwards else None
        return of_x, (of_kernels.view_as(weight), of_bias.view_as(bias))

    made = functional.conv2d(wide, kernels, bias.flatten(), *geometry, clients)
    return made.unflatten(1, (clients, outputs)).transpose(0, 1), pull


def _by_windows(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, geometry: Geometry) -> Made:
    """A matrix product for each example: its windows as columns, its client's kernels as rows."""
    clients, outputs = weight.shape[:2]
    batch, kernel = x.shape[1], weight.shape[3:]
    each = x.transpose(0, 1).flatten(0, 1)
    space = [
        (size + 2 * around - across * (width - 1) - 1) // step + 1
        for size, width, step, around, across in zip(each.shape[2:], kernel, *geometry, strict=True)
    ]
    windows = _windows(each, kernel, space, geometry)
    rows = weight.flatten(2).expand(batch, -1, -1, -1).flatten(0, 1)

    def pull(gradient: torch.Tensor, onwards: bool) -> tuple[torch.Tensor | None, Sequence[torch.Tensor]]:
        columns = gradient.transpose(0, 1).reshape(batch * clients, outputs, -1)
        of_rows = torch.bmm(columns, windows.transpose(1, 2)).view(batch, clients, *weight.shape[1:])
        of_bias = columns.view(batch, clients, outputs, -1).sum((0, 3))
        of_x = None
        if onwards:
            of_windows = torch.bmm(rows.transpose(1, 2), columns)
            size = (each.shape[2], each.shape[3])
            folded = functional.fold(of_windows, size, kernel, geometry.dilation, geometry.padding, geometry.stride)
            of_x = folded.unflatten(0, (batch, clients)).transpose(0, 1)
        return of_x, (of_rows.sum(0), of_bias)

    start = bias[..., None].expand(batch, -1, -1, -1).flatten(0, 1)
    made = torch.baddbmm(start, rows, windows)
    return made.view(batch, clients, outputs, *space).transpose(0, 1), pull


def _windows(each: torch.Tensor, kernel: torch.Size, space: list[int], geometry: Geometry) -> torch.Tensor:
    """What `functional.unfold` returns, three times as fast: [n, channels · kernel, places]."""
    (down, right), (above, beside), (apart, aside) = geometry
    padded = functional.pad(each, (beside, beside, above, above))
    n, channel, row, column = padded.stride()
    shape = (each.shape[0], each.shape[1], *kernel, *space)
    view = padded.as_strided(shape, (n, channel, apart * row, aside * column, down * row, right * column))
    return view.reshape(each.shape[0], -1, space[0] * space[1])


def _input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, shape: torch.Size, geometry: Geometry
) -> torch.Tensor:
    """The gradient of a grouped convolution with respect to its input, by forward convolutions alone.

    Input places that are `stride` apart meet the same kernel taps. Such a phase is the full convolution of the output's
    gradient with these taps (Shi et al. 2016, arXiv:1609.07009, say it of the transposed convolution).
    """
    made = gradient.new_zeros(shape)
    flipped = weight.transpose(1, 2).flatten(0, 1).flip(2, 3)
    rows, columns = (
        _phases(*of)
        for of in zip(shape[2:], geometry.stride, geometry.padding, weight.shape[3:], gradient.shape[2:], strict=True)
    )
    for row, column in product(rows, columns):
        taps = flipped[:, :, row.flipped, column.flipped]
        part = functional.conv2d(gradient, taps, None, 1, (row.taps - 1, column.taps - 1), 1, weight.shape[0])
        made[:, :, row.into, column.into] = part[:, :, row.kept, column.kept]
    return made


class _Phase(NamedTuple):
    """Along one axis, the input places of one remainder by the stride."""

    taps: int
    """How many taps of the kernel reach them."""

    flipped: slice
    """Those taps in the kernel turned round."""

    kept: slice
    """What of the full convolution falls onto the input and not onto its padding."""

    into: slice
    """Where that belongs."""


@lru_cache(maxsize=256)
def _phases(size: int, stride: int, padding: int, kernel: int, outputs: int) -> list[_Phase]:
    """The phases that any tap reaches; phase f is the padded places f, f + stride, …"""
    phases = []
    for first in range(min(stride, kernel)):
        taps = len(range(first, kernel, stride))
        begin = max(0, -(-(padding - first) // stride))
        end = min(outputs + taps - 1, -(-(padding + size - first) // stride))
        if begin < end:
            last, start = first + (taps - 1) * stride, begin * stride + first - padding
            flipped = slice(kernel - 1 - last, kernel - first, stride)
            phases.append(
                _Phase(taps, flipped, slice(begin, end), slice(start, start + (end - begin - 1) * stride + 1, stride))
            )
    return phases
