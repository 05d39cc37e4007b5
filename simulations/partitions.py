"""Real recordings cut into what each device holds: training, hold-out, live stream, and the stream after a shift.

Pure functions of arrays and seeds; `write_split` is the one that touches disk. Cuts are by time within each
recording, and no sample is in two parts, so that a live window is never a training window moved a little.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import FaultError, TrustError
from shared.task import Examples

RATE = 50
"""Hz, of the watch recordings."""

WINDOW = 2 * RATE
HOP = RATE // 2
"""Samples between training windows: half a second, so that 250 s of movement give 500 windows."""

SEGMENT = 4 * RATE
"""Samples of one movement before a stream goes on to the next: one or two repetitions of an exercise."""

SEGMENT_HOP = RATE
"""Samples between the windows of a stream's segment."""

TRAINING_SHARE = 0.50
HOLDOUT_SHARE = 0.15

WATCH_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
"""Of `watch_dataset.npy` in seglearn 1.2: the file is a pickle, so it is proven before it is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One exercise done by one person with the watch on one wrist."""

    x: NDArray[np.float32]
    """[samples, 6]: acceleration in g, angular velocity in rad/s."""

    label: int
    subject: int
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one device gets of one subject."""

    training: Examples
    holdout: Examples
    live: Examples
    """In the order of the stream: every seven segments show all seven exercises."""


def read_watch(path: Path) -> list[Recording]:
    """Read seglearn's watch recordings: 10 subjects, 7 exercises, both wrists, 50 Hz.

    Raises:
        FaultError: no such file.
        TrustError: not the file we know; it is a pickle and stays shut.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FaultError(f"no recordings at {path}: {error}", hint="pip install seglearn==1.2.0") from error
    if hashlib.sha256(data).hexdigest() != WATCH_SHA256:
        raise TrustError(f"{path} is not the watch data set of seglearn 1.2", hint="pip install seglearn==1.2.0")
    table = np.load(io.BytesIO(data), allow_pickle=True).item()  # only after the digest: a pickle runs code
    columns = zip(table["X"], table["y"], table["subject"], table["side"], strict=True)
    return [
        Recording(x=np.asarray(x, dtype=np.float32), label=int(y), subject=int(subject) - 1, side=int(side))
        for x, y, subject, side in columns
    ]


def subject_parts(recordings: Sequence[Recording], *, subject: int, seed: int) -> Parts:
    """Cut each recording of `subject` by time: 50 % training, then 15 % hold-out, then the live stream."""
    training, holdout, segments = [], [], []
    for recording in _of(recordings, subject):
        first = int(len(recording.x) * TRAINING_SHARE)
        second = first + int(len(recording.x) * HOLDOUT_SHARE)
        training.append((_windows(recording.x[:first], HOP), recording.label))
        holdout.append((_windows(recording.x[first:second], HOP), recording.label))
        segments += _segments(recording.x[second:], recording.label)
    return Parts(
        training=_examples(training), holdout=_examples(holdout), live=_stream(segments, np.random.default_rng(seed))
    )


def shifted_stream(
    recordings: Sequence[Recording], *, subject: int, rotation: NDArray[np.float64], seed: int
) -> tuple[Examples, Examples]:
    """The stream once another person wears the device, mounted askew: its first and its later half.

    Labels come for the first half, accuracy is measured on the later one; segments of both halves are
    disjoint, and each half shows every exercise.
    """
    order = np.random.default_rng(seed)
    halves: tuple[list[_Segment], list[_Segment]] = ([], [])
    for recording in _of(recordings, subject):
        pieces = _segments(rotate(recording.x, rotation), recording.label)
        for position, index in enumerate(order.permutation(len(pieces))):
            halves[position % 2].append(pieces[index])
    return _stream(halves[0], order), _stream(halves[1], order)


def mount(*, roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> NDArray[np.float64]:
    """Rotation matrix of a sensor mounted askew, in degrees about x (along the arm), y and z (the dial's normal)."""
    a, b, c = np.radians([roll, pitch, yaw])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix: NDArray[np.float64] = z @ y @ x
    return matrix


def rotate(x: NDArray[np.float32], rotation: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn both triads of [samples, 6], as a rigid body turns accelerometer and gyroscope alike."""
    turned = np.concatenate([x[:, :3] @ rotation.T, x[:, 3:] @ rotation.T], axis=1)
    return turned.astype(np.float32)


def write_split(directory: Path, *, training: Examples, holdout: Examples) -> None:
    """Write `train.npz` and `holdout.npz`, as a device's data set store reads them.

    Raises:
        FaultError: the disk does not take them.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / "train.npz", x=training.x, y=training.y)
        np.savez(directory / "holdout.npz", x=holdout.x, y=holdout.y)
    except OSError as error:
        raise FaultError(f"{directory} cannot hold a split: {error}", hint="Check the disk.") from error


_Segment = tuple[NDArray[np.float32], int]
"""Windows [n, 6, WINDOW] of one short stretch of movement, and its label."""


def _of(recordings: Sequence[Recording], subject: int) -> list[Recording]:
    chosen = [recording for recording in recordings if recording.subject == subject]
    return sorted(chosen, key=lambda recording: (recording.label, recording.side))


def _windows(x: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    starts = range(0, len(x) - WINDOW + 1, hop)
    return np.stack([x[start : start + WINDOW].T for start in starts])


def _segments(x: NDArray[np.float32], label: int) -> list[_Segment]:
    starts = range(0, len(x) - SEGMENT + 1, SEGMENT)
    return [(_windows(x[start : start + SEGMENT], SEGMENT_HOP), label) for start in starts]


def _examples(parts: Sequence[_Segment]) -> Examples:
    x = np.concatenate([windows for windows, _ in parts]).astype(np.float32)
    y = np.concatenate([np.full(len(windows), label, dtype=np.int64) for windows, label in parts])
    return Examples(x, y)


def _stream(segments: Sequence[_Segment], order: np.random.Generator) -> Examples:
    """Interleave the exercises: shuffled within each label, then shuffled cycles that take one of each."""
    waiting = {label: [s for s in segments if s[1] == label] for label in sorted({s[1] for s in segments})}
    for label, pieces in waiting.items():
        waiting[label] = [pieces[index] for index in order.permutation(len(pieces))]
    stream = []
    while any(waiting.values()):
        labels = [label for label, pieces in waiting.items() if pieces]
        stream += [waiting[labels[index]].pop() for index in order.permutation(len(labels))]
    return _examples(stream)
