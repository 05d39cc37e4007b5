"""Privacy masks: hides parts of a decoded frame before anything else has seen it.

The owner's masks and the fleet's are laid over each other: nobody can take away what another hides. Where the
fleet's cannot be understood no frame passes, for nobody knows then what should have been hidden.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.scene.raster import Pixels, coarse, slabs, touched
from edge.pipelines.sources.film import Frame
from edge.pipelines.sources.port import Drop
from shared.errors import FaultError
from shared.masks import Mask

log = logging.getLogger(__name__)

SQUARES = 12
"""Squares of a pixelated part along the picture's shorter side: a face that fills a square is one colour."""


class Plane(NamedTuple):
    """How one plane of a picture lies in memory."""

    across: int
    """Pixels for each sample, along a row."""

    down: int
    dark: tuple[int, ...]
    """Values of one sample where the picture is black, one a channel."""


_Y, _UV = Plane(1, 1, (16,)), (128,)
_DEEP = Plane(1, 1, (64,))
_RGB = (Plane(1, 1, (0, 0, 0)),)

LAYOUTS: dict[str, tuple[Plane, ...]] = {
    "gray": (_Y,),
    "yuv420p": (_Y, Plane(2, 2, _UV), Plane(2, 2, _UV)),
    "yuv422p": (_Y, Plane(2, 1, _UV), Plane(2, 1, _UV)),
    "yuv444p": (_Y, Plane(1, 1, _UV), Plane(1, 1, _UV)),
    "nv12": (_Y, Plane(2, 2, (128, 128))),
    "yuyv422": (Plane(2, 1, (16, 128, 16, 128)),),
    "rgb24": _RGB,
    "bgr24": _RGB,
    "yuv420p10le": (_DEEP, Plane(2, 2, (512,)), Plane(2, 2, (512,))),
}
"""Pixel formats that can be masked without being converted, which would mix what is hidden into what is not."""

LAYOUTS |= {f"yuvj{kind}": LAYOUTS[f"yuv{kind}"] for kind in ("420p", "422p", "444p")}


@dataclass(frozen=True, slots=True)
class _Squares:
    """Where samples of one plane are averaged."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    square: NDArray[np.intp]
    """Of each of these samples."""

    sizes: NDArray[np.float64]
    """Samples in each square."""


@dataclass(frozen=True, slots=True)
class _Cover:
    """What to do to one plane."""

    plane: Plane
    black: Sequence[tuple[slice, slice]]
    squares: _Squares | None

    def lay(self, samples: NDArray[Any]) -> None:
        """Cover `samples` [height, width, channels], in place."""
        for slab in self.black:
            samples[slab] = self.plane.dark
        if self.squares is None:
            return
        at = (self.squares.rows, self.squares.columns)
        for channel in range(samples.shape[2]):
            values = samples[:, :, channel]
            sums = np.bincount(self.squares.square, weights=values[at], minlength=len(self.squares.sizes))
            values[at] = (sums / self.squares.sizes).astype(samples.dtype)[self.squares.square]


class FrameMask:
    """The masks of one pipeline; a `Mask` of its source's chain."""

    def __init__(self, own: Sequence[Mask]) -> None:
        """Take what the device's owner hides."""
        self._own = tuple(own)
        self._masks: tuple[Mask, ...] | None = self._own
        self._covers: tuple[tuple[Mask, ...], tuple[str, int, int], list[_Cover]] | None = None

    @property
    def withholds(self) -> bool:
        """Whether no frame passes."""
        return self._masks is None

    @property
    def masks(self) -> Sequence[Mask]:
        """What is hidden now."""
        return self._masks or ()

    def policy(self, masks: Sequence[Mask] | None) -> None:
        """Lay the fleet's masks over the owner's, from the next frame on; None lets no frame pass. From any thread."""
        self._masks = None if masks is None else (*self._own, *(mask for mask in masks if mask not in self._own))

    def __call__(self, frame: Frame) -> Frame | Drop:
        """`frame` with everything covered; the decoder's own memory stays as it is, for it decodes from it."""
        masks = self._masks
        if masks is None:
            return Drop.WITHHELD
        if not masks:
            return frame
        covers = self._fitting(masks, (frame.format.name, frame.width, frame.height))
        frame.make_writable()
        for cover, plane in zip(covers, frame.planes, strict=True):
            cover.lay(_samples(plane, cover.plane, frame))
        return frame

    def _fitting(self, masks: tuple[Mask, ...], shape: tuple[str, int, int]) -> list[_Cover]:
        """Covers for frames of `shape`; made once for each, a camera seldom changes."""
        if self._covers is None or self._covers[:2] != (masks, shape):
            self._covers = (masks, shape, _covers(masks, *shape))
        return self._covers[2]


def _samples(plane: Any, layout: Plane, frame: Frame) -> NDArray[Any]:
    """A plane's memory as [height, width, channels]."""
    kind = np.uint16 if frame.format.name.endswith("10le") else np.uint8
    channels, height, width = len(layout.dark), -(-frame.height // layout.down), -(-frame.width // layout.across)
    rows = np.frombuffer(plane, kind).reshape(height, -1)  # lines may be longer than the picture is wide
    return rows[:, : width * channels].reshape(height, width, channels)


def _covers(masks: Sequence[Mask], name: str, width: int, height: int) -> list[_Cover]:
    layout = LAYOUTS.get(name)
    if layout is None:
        raise FaultError(
            f"pictures of format {name} cannot be masked",
            hint=f"Have the camera give one of {', '.join(LAYOUTS)}, or take the masks away.",
        )
    parts: dict[str, Pixels] = {}
    for mask in masks:
        pixels = touched(mask.corners, width=width, height=height)
        parts[mask.style] = parts[mask.style] | pixels if mask.style in parts else pixels
    nothing = np.zeros((height, width), np.bool_)
    black, pixelated = parts.get("black", nothing), parts.get("pixels", nothing)
    side = max(2, min(width, height) // SQUARES) // 2 * 2
    return [_cover(plane, black, pixelated, side) for plane in layout]


def _cover(plane: Plane, black: Pixels, pixelated: Pixels, side: int) -> _Cover:
    dark = coarse(black, across=plane.across, down=plane.down)
    blurred = coarse(pixelated, across=plane.across, down=plane.down) & ~dark
    return _Cover(plane, list(slabs(dark)), _squares(blurred, plane, side) if blurred.any() else None)


def _squares(pixels: Pixels, plane: Plane, side: int) -> _Squares:
    rows, columns = np.nonzero(pixels)
    count = -(-pixels.shape[1] * plane.across // side)
    numbers = rows * plane.down // side * count + columns * plane.across // side
    _, square, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    return _Squares(rows, columns, square, sizes.astype(np.float64))
