"""Convolutions of many clients at once, see `shared.tasks.stacked_layers`.

On a processor the layout decides the speed:

- a convolution of many channels is one grouped convolution of a volume whose third axis is the batch, with the channels
  innermost. oneDNN runs it at the speed of a large matrix product in all three directions, and copies nothing; as a
  grouped convolution of pictures, the gradient of its input takes ten times as long;
- a convolution of few channels is a matrix product over the windows, as oneDNN has no fast grouped one. They are
  gathered with the batch innermost, in whole lines of memory.

Importing this module imports torch.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from shared.tasks.stacked_layers import Layer, Own, Shape

LANES = 16
"""Channels of a client that fill a vector register (AVX-512); oneDNN's grouped convolutions want multiples of it."""

Pair = tuple[int, int]

_backward = torch.ops.aten.convolution_backward.default


class Geometry(NamedTuple):
    """Of a convolution, along the last two axes."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def places(self, size: Shape, kernel: Shape) -> Pair:
        """How many windows there are along each axis."""
        high, wide = (
            (length + 2 * around - across * (width - 1) - 1) // step + 1
            for length, width, step, around, across in zip(size, kernel, *self, strict=True)
        )
        return high, wide


def convolution(layer: nn.Conv1d | nn.Conv2d, shape: Shape, own: Own) -> Layer:
    """[clients, batch, channels, …] by weight [clients, outputs, channels, …] to [clients, batch, outputs, …]."""
    padding = padding_of(layer)
    if isinstance(layer, nn.Conv2d):
        return _planar(shape, own, Geometry(_pair(layer.stride), _pair(padding), _pair(layer.dilation)))
    geometry = Geometry((1, layer.stride[0]), (0, padding[0]), (1, layer.dilation[0]))
    flat = Own(own.weight.unsqueeze(-2), own.bias, own.of_weight.unsqueeze(-2), own.of_bias)
    return _OneAxis(_planar((*shape[:-1], 1, shape[-1]), flat, geometry))


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


def _planar(shape: Shape, own: Own, geometry: Geometry) -> Layer:
    clients, outputs, channels = own.weight.shape[:3]
    wide = channels % LANES == 0 and outputs % LANES == 0
    if own.weight.is_cuda or (wide and clients == 1):  # a volume of one group is not among oneDNN's fast ones
        return _Grouped(shape, own, geometry)
    return _Volume(shape, own, geometry) if wide else _Windows(shape, own, geometry)


class _OneAxis:
    """A convolution along one axis, as one over pictures of one line."""

    def __init__(self, planar: Layer) -> None:
        self._planar = planar
        self.shape: Shape = (*planar.shape[:-2], planar.shape[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._planar.forward(x.unsqueeze(-2)).squeeze(-2)

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        of_x = self._planar.backward(gradient.unsqueeze(-2), onwards)
        return None if of_x is None else of_x.squeeze(-2)


class _Grouped:
    """One grouped convolution of pictures."""

    def __init__(self, shape: Shape, own: Own, geometry: Geometry) -> None:
        clients, batch = shape[:2]
        self.shape: Shape = (clients, batch, own.weight.shape[1], *geometry.places(shape[3:], own.weight.shape[3:]))
        self._own, self._geometry, self._clients = own, geometry, clients

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._wide, self._kernels = x.transpose(0, 1).flatten(1, 2), self._own.weight.flatten(0, 1)
        made = functional.conv2d(self._wide, self._kernels, self._own.bias.flatten(), *self._geometry, self._clients)
        return made.unflatten(1, (self._clients, -1)).transpose(0, 1)

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        of_wide, of_kernels, of_bias = _backward(
            gradient.transpose(0, 1).flatten(1, 2), self._wide, self._kernels, [len(self._kernels)], *self._geometry,
            False, [0, 0], self._clients, [onwards, True, True],
        )  # fmt: skip
        self._own.of_weight.copy_(of_kernels.view_as(self._own.weight))
        self._own.of_bias.copy_(of_bias.view_as(self._own.bias))
        return of_wide.unflatten(1, (self._clients, -1)).transpose(0, 1) if onwards else None


class _Volume:
    """One grouped convolution of a volume, whose third axis is the batch and is not mixed."""

    def __init__(self, shape: Shape, own: Own, geometry: Geometry) -> None:
        clients, batch = shape[:2]
        outputs, _, *kernel = own.weight.shape[1:]
        self.shape: Shape = (clients, batch, outputs, *geometry.places(shape[3:], tuple(kernel)))
        self._own, self._clients, self._outputs = own, clients, clients * outputs
        kernels = own.weight.flatten(0, 1).unsqueeze(-1)
        self._kernels = torch.empty_like(kernels, memory_format=torch.channels_last_3d)
        self._filled = self._kernels.squeeze(-1).unflatten(0, (clients, outputs))
        self._geometry = (*geometry.stride, 1), (*geometry.padding, 0), (*geometry.dilation, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._filled.copy_(self._own.weight)
        self._x = _as_volume(x)
        made = functional.conv3d(self._x, self._kernels, self._own.bias.flatten(), *self._geometry, self._clients)
        return _as_pictures(made, self._clients)

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        of_volume, of_kernels, of_bias = _backward(
            _as_volume(gradient), self._x, self._kernels, [self._outputs], *self._geometry, False, [0, 0, 0],
            self._clients, [onwards, True, True],
        )  # fmt: skip
        self._own.of_weight.copy_(of_kernels.view_as(self._own.weight))
        self._own.of_bias.copy_(of_bias.view_as(self._own.bias))
        return _as_pictures(of_volume, self._clients) if onwards else None


def _as_volume(x: torch.Tensor) -> torch.Tensor:
    """[clients, batch, channels, high, wide] as [1, clients · channels, high, wide, batch], the channels innermost."""
    moved = x.permute(3, 4, 1, 0, 2)
    return moved.reshape(1, *moved.shape[:3], -1).permute(0, 4, 1, 2, 3)


def _as_pictures(volume: torch.Tensor, clients: int) -> torch.Tensor:
    return volume[0].unflatten(0, (clients, -1)).permute(0, 4, 1, 2, 3)


class _Windows:
    """A matrix product for each client: the windows of its batch by its kernels."""

    def __init__(self, shape: Shape, own: Own, geometry: Geometry) -> None:
        clients, batch, channels, high, wide = shape
        outputs, kernel = own.weight.shape[1], tuple(own.weight.shape[3:])
        space = geometry.places((high, wide), kernel)
        (down, right), (above, beside), (apart, aside) = geometry
        new = own.weight.new_zeros
        self.shape: Shape = (clients, batch, outputs, *space)
        self._own, self._geometry = own, geometry
        self._padded = new(clients, channels, high + 2 * above, wide + 2 * beside, batch)
        self._inner = self._padded[:, :, above : above + high, beside : beside + wide]
        client, channel, row, column, _ = self._padded.stride()
        self._seen = self._padded.as_strided(
            (clients, channels, *kernel, *space, batch),
            (client, channel, apart * row, aside * column, down * row, right * column, 1),
        )
        # windows as columns, and a row of ones, so that the product adds the bias and its gradient comes with the rest
        windows = new(clients, channels * kernel[0] * kernel[1] + 1, space[0] * space[1] * batch)
        windows[:, -1] = 1.0
        self._windows = windows[:, :-1].view(self._seen.shape)
        self._columns, self._rows = windows.unbind(), windows.transpose(1, 2).unbind()
        self._weights = own.weight.flatten(2), own.bias[..., None]
        kernels = new(clients, outputs, windows.shape[1])
        self._kernels, self._turned = kernels, kernels.transpose(1, 2).unbind()
        made = new(windows.shape[2], clients, outputs)
        self._flat, self._made = made.shape, made.unbind(1)
        self._whole = made.view(*space, batch, clients, outputs).permute(3, 2, 4, 0, 1)
        of_kernels = new(clients, windows.shape[1], outputs)
        self._of_kernels = of_kernels.unbind()
        self._of_weight = of_kernels[:, :-1].transpose(1, 2).unflatten(2, own.weight.shape[2:])
        self._of_bias = of_kernels[:, -1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._inner.copy_(x.permute(0, 2, 3, 4, 1))
        self._windows.copy_(self._seen)
        torch.cat(self._weights, dim=2, out=self._kernels)
        for rows, kernels, made in zip(self._rows, self._turned, self._made, strict=True):
            torch.mm(rows, kernels, out=made)
        return self._whole

    def backward(self, gradient: torch.Tensor, onwards: bool) -> torch.Tensor | None:
        gradient = gradient.permute(3, 4, 1, 0, 2).reshape(self._flat)
        for columns, towards, made in zip(self._columns, gradient.unbind(1), self._of_kernels, strict=True):
            torch.mm(columns, towards, out=made)
        self._own.of_weight.copy_(self._of_weight)
        self._own.of_bias.copy_(self._of_bias)
        return self._fold(gradient) if onwards else None

    def _fold(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of the input: each tap of the kernels adds its share."""
        taps = torch.bmm(self._weights[0].transpose(1, 2), gradient.permute(1, 2, 0)).view(self._seen.shape)
        made = torch.zeros_like(self._padded)
        (down, right), (above, beside), (apart, aside) = self._geometry
        high, wide = taps.shape[4:6]
        for row, column in product(range(taps.shape[2]), range(taps.shape[3])):
            rows = slice(row * apart, row * apart + (high - 1) * down + 1, down)
            columns = slice(column * aside, column * aside + (wide - 1) * right + 1, right)
            made[:, :, rows, columns] += taps[:, :, row, column]
        return made[:, :, above : above + self._inner.shape[2], beside : beside + self._inner.shape[3]].permute(
            0, 4, 1, 2, 3
        )
