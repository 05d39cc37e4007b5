"""Fashion-MNIST, cut into the uneven shares that real sites have."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import FaultError
from shared.task import Examples
from simulations.packages import Fashion

HOLDOUT_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one device holds."""

    training: Examples
    holdout: Examples


def read_images(images: Path, labels: Path) -> Examples:
    """Read a pair of gzipped IDX files: x [n, 1, 28, 28] from 0 to 1, y [n].

    The format is described at the foot of Yann LeCun's MNIST page.

    Raises:
        FaultError: a file is missing or of another format.
    """
    try:
        pixels, classes = (_idx(path) for path in (images, labels))
    except (OSError, ValueError, EOFError) as error:
        raise FaultError(f"no images: {error}", hint="Run `hinterland simulate --setup-only`.") from error
    x = pixels.reshape(-1, 1, *pixels.shape[1:]).astype(np.float32) / np.float32(255)
    return Examples(x, classes.astype(np.int64))


def fashion_training(files: Fashion) -> Examples:
    """The 60,000 training images."""
    return read_images(files.train_images, files.train_labels)


def fashion_test(files: Fashion) -> Examples:
    """The 10,000 test images."""
    return read_images(files.test_images, files.test_labels)


def dirichlet_shares(examples: Examples, *, devices: int, images: int, alpha: float, seed: int) -> list[Share]:
    """Cut `images` examples into one share a device, with class mixes drawn from a Dirichlet distribution.

    Small `alpha` gives each device few classes, large `alpha` gives all the same mix (Hsu, Qi and Brown,
    "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019).
    Every share holds at least ten examples: one in five is held out.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(examples))[:images]
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(devices)]
    for label in np.unique(examples.y[chosen]):
        mine = chosen[examples.y[chosen] == label]
        cuts = (np.cumsum(random.dirichlet(np.full(devices, alpha)))[:-1] * len(mine)).astype(int)
        for part, piece in zip(parts, np.split(mine, cuts), strict=True):
            part.append(piece)
    return [_share(examples, np.concatenate(part), chosen, random) for part in parts]


def _share(
    examples: Examples, mine: NDArray[np.int64], all_of_them: NDArray[np.int64], random: np.random.Generator
) -> Share:
    if len(mine) < 10:
        mine = np.concatenate([mine, random.choice(all_of_them, 10 - len(mine), replace=False)])
    mine = random.permutation(mine)
    held_out, rest = np.split(mine, [max(2, int(len(mine) * HOLDOUT_SHARE))])
    return Share(
        training=Examples(examples.x[rest], examples.y[rest]),
        holdout=Examples(examples.x[held_out], examples.y[held_out]),
    )


def _idx(path: Path) -> NDArray[np.uint8]:
    with gzip.open(path) as file:
        data = file.read()
    zero, kind, axes = int.from_bytes(data[:2], "big"), data[2], data[3]
    if zero != 0 or kind != 8:
        raise ValueError(f"{path} holds no unsigned bytes in IDX format")
    shape = [int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)
