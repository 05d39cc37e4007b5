"""Who plays in the loop: devices, the people who wear them, the data each one holds and the streams it sees.

Five watches train on one person each and one camera watches a street; all six hold a share of Fashion-MNIST.
Halfway through, two watches change their wearer and are strapped on askew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.task import Examples
from simulations.images import dirichlet_shares, fashion_test, fashion_training
from simulations.packages import Data
from simulations.partitions import (
    Parts,
    mount,
    read_watch,
    shifted_stream,
    subject_parts,
    write_split,
)

WATCHES = ("watch-1", "watch-2", "watch-3", "watch-4", "watch-5")
CAMERA = "camera-1"
WARDS, GATES = "wards", "gates"
CANARY = "watch-1"
"""Not one of the shifted devices: a canary should be an ordinary device."""

SUBJECTS = {"watch-1": 4, "watch-2": 6, "watch-3": 9, "watch-4": 5, "watch-5": 7}
"""Device → the person who wears it first."""

SHIFTED = {"watch-4": 8, "watch-5": 0}
"""Device → the new wearer, a person whose movements nobody has trained on."""

ASKEW = mount(yaw=90.0)
SHIFT_IN_WORDS = (
    "On watch-4 and watch-5 another person, whose movements no device has trained on, wears the sensor, and it is "
    "mounted askew: turned by 90° about the dial's normal."
)

OWN, LABELLED, SHIFTED_PHASE = "own", "shifted-labelled", "shifted"
IMAGES, ALPHA = 4000, 0.5
"""Images of Fashion-MNIST shared out among all devices, and how unevenly (Dirichlet)."""

REPEATS = 12
"""How often the later part of a shifted stream is replayed: nobody trains on it, so a repetition tells nothing new,
but the stream must not end before the story does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What a device's sensor will see, and the truth that only the simulated operator knows."""

    path: Path
    labels: NDArray[np.int64]
    phases: tuple[str, ...]
    loop: bool

    def truth(self, index: int) -> int:
        """Class of window `index`."""
        return int(self.labels[index % len(self.labels)])

    def phase(self, index: int) -> str:
        """Phase of window `index`."""
        return self.phases[index % len(self.phases)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Everything on disk that the devices need, and what the operator knows."""

    streams: dict[str, Stream]
    labels: int
    """Labelled windows with which each shifted device trains: the labelled part of its stream."""

    fashion_stream: Path
    directories: dict[str, Path] = field(default_factory=dict)


def write_cast(data: Data, directory: Path, *, seed: int) -> Cast:
    """Cut the recordings for `seed` and write what each device holds under `directory`.

    Raises:
        FaultError: a data package is missing or the disk is full.
    """
    recordings = read_watch(data.watch)
    directories = {device: directory / device for device in (*WATCHES, CAMERA)}
    halves = {
        device: shifted_stream(recordings, subject=subject, rotation=ASKEW, seed=seed)
        for device, subject in SHIFTED.items()
    }
    labels = min(len(first) for first, _ in halves.values())  # the same number everywhere: a run names one
    streams = {}
    for device, subject in SUBJECTS.items():
        parts = subject_parts(recordings, subject=subject, seed=seed)
        write_split(directories[device] / "activity", training=parts.training, holdout=parts.holdout)
        if device in halves:
            first, later = halves[device]
            labelled = Examples(first.x[:labels], first.y[:labels])
            streams[device] = _shifted(directories[device], parts, labelled, later)
        else:
            streams[device] = _steady(directories[device], parts)
    shares = dirichlet_shares(
        fashion_training(data.fashion), devices=len(directories), images=IMAGES, alpha=ALPHA, seed=seed
    )
    for share, path in zip(shares, directories.values(), strict=True):
        write_split(path / "fashion", training=share.training, holdout=share.holdout)
    fashion_stream = directories[CAMERA] / "fashion-stream.npz"
    np.savez(fashion_stream, x=fashion_test(data.fashion).x[:IMAGES])
    return Cast(streams=streams, labels=labels, fashion_stream=fashion_stream, directories=directories)


def _steady(directory: Path, parts: Parts) -> Stream:
    return _write(directory, [(OWN, parts.live)], loop=True)


def _shifted(directory: Path, parts: Parts, labelled: Examples, later: Examples) -> Stream:
    return _write(directory, [(OWN, parts.live), (LABELLED, labelled), *[(SHIFTED_PHASE, later)] * REPEATS], loop=False)


def _write(directory: Path, pieces: list[tuple[str, Examples]], *, loop: bool) -> Stream:
    phases = tuple(phase for phase, piece in pieces for _ in range(len(piece)))
    path = directory / "stream.npz"
    np.savez(path, x=np.concatenate([piece.x for _, piece in pieces]), phase=np.array(phases))
    return Stream(path=path, labels=np.concatenate([piece.y for _, piece in pieces]), phases=phases, loop=loop)
