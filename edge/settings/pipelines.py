"""Which inputs go through which model, and what becomes of the answers."""

from __future__ import annotations

import msgspec

from edge.settings.kinds import Priority, Rate, Share
from edge.settings.sources import Source
from shared.masks import Mask


class Motion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames in which nothing moves are left out, and counted as `still`."""

    share: Share = 0.003
    """Of the picture that must change for motion to begin, 0 to 1; it ends under a half of that."""

    level: Rate = 12.0
    """Steps of brightness, of 255, that are a change."""

    hold_s: Rate = 2.0
    """Seconds for which frames go on passing after the last motion."""

    every_s: Rate = 10.0
    """A frame passes at least so often, whatever it shows."""

    adapt_s: Rate = 10.0
    """Seconds in which the background takes on most of what has changed; six times as long while something moves."""


class Track(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Objects are numbered, and followed from frame to frame."""

    sure: Share = 0.6
    """Least score of a detection that begins a track, 0 to 1; weaker ones, down to `threshold`, only go on with one."""

    overlap: Share = 0.2
    """Least overlap of a detection with where its object should be (intersection over union), 0 to 1."""

    lost_s: Rate = 1.5
    """Seconds unseen after which an object is another one."""


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source feeding one model."""

    name: str
    model: str
    source: Source
    remember: bool = False
    """Keep inputs on the device until somebody labels them, so that they can be trained on here."""

    snapshot: str = ""
    """File to which the newest picture with its detections is written; empty for none."""

    masks: list[Mask] = []
    """For frames only: parts of the picture that nothing ever sees, neither model nor snapshot; the fleet's come on
    top."""

    motion: Motion | None = None
    """For frames only: infer only while something moves; None for always."""

    track: Track | None = None
    """For detectors: number objects and follow them; None for not at all."""

    priority: Priority = 1
    """Turns with the model for each turn of another pipeline that has 1, while both wait for the same model."""

    latency_ms: Rate | None = None
    """For frames only: most milliseconds from a frame to its answer; when it takes longer, frames are left out until
    it does not, and counted as `skipped`. None for no such bound: the oldest that wait are dropped then."""

    threshold: float = 0.5
    """Least score of a detection, 0 to 1."""
