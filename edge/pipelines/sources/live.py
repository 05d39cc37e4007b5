"""Cameras that are there for ever: opened, read, watched, and opened again when they fall silent, freeze or vanish."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from edge.pipelines.sources.chain import Chain, Gate, Mask
from edge.pipelines.sources.film import Frame
from edge.pipelines.sources.frames import FrameSource, Intake
from edge.pipelines.sources.frozen import FrozenGate
from edge.pipelines.sources.pace import Pace
from edge.pipelines.sources.port import Drop
from edge.pipelines.sources.stalls import Reason
from edge.pipelines.sources.timing import FrameClock, Haste
from edge.pipelines.sources.watch import Watch
from shared.backoff import Backoff
from shared.clock import Clock

log = logging.getLogger(__name__)

MAX_PIXELS = 8192 * 4320
"""Of a frame: whoever sends larger ones wants our memory."""

PATIENCE_S = 1.0
"""For which closing waits for a thread that may sit in a read; the read ends by itself at its timeout."""

STABLE_S = 5.0
"""For which a connection must hold before the next reconnect waits as little as the first."""

ALL_KEYS_S = 10.0
"""Without a key frame after which a hurried stream is decoded whole again: some cameras never send a second one."""


class Opener(Protocol):
    """Opens one camera."""

    @property
    def name(self) -> str:
        """As it may be written into logs and reports: no credentials."""
        ...

    def open(self) -> Any:
        """An `av` input container whose reads end by themselves.

        Raises:
            CameraError: it cannot be opened now.
            FaultError: it never can be.
        """
        ...


class CameraError(Exception):
    """A camera cannot be opened or read now; its text names no credentials."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """How a camera is read and watched."""

    fps: float | None = 5.0
    """Frames a second handed on; None for all."""

    silent_s: float = 10.0
    """Seconds without a frame that are a stall."""

    frozen_s: float = 30.0
    """Seconds of exactly the same picture that are a stall; 0 for never."""

    keyframes_when_late: bool = True
    """Whether only key frames are decoded while the device does not keep up."""

    retry_s: float = 30.0
    """Most seconds between two tries to connect."""

    queue: int = 4


class Thaw:
    """When to connect anew for a frozen picture: at once, then after twice as long each time."""

    def __init__(self, first_s: float, *, most_s: float = 600.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._wait_s = 0.0

    def due(self, *, frozen: bool, seen_s: float) -> bool:
        """Whether to connect anew, after `seen_s` seconds of frames on this connection; call it with each frame."""
        if not frozen:
            self._wait_s = 0.0
            return False
        if seen_s < self._wait_s:
            return False
        self._wait_s = min(self._most_s, max(self._first_s, 2 * self._wait_s))
        return True


class LivePlayer:
    """Reads one camera for ever."""

    def __init__(
        self,
        opener: Opener,
        settings: LiveSettings,
        *,
        watch: Watch,
        frozen: FrozenGate | None,
        backoff: Backoff,
        clock: Clock,
    ) -> None:
        self._opener = opener
        self._settings = settings
        self._watch = watch
        self._frozen = frozen
        self._backoff = backoff
        self._clock = clock
        self._pace = Pace(settings.fps)
        self._haste = Haste()
        self._thaw = Thaw(settings.frozen_s)

    def play(self, intake: Intake) -> None:
        while self.connect_once(intake) and intake.wait(self._backoff.next()):
            pass

    def connect_once(self, intake: Intake) -> bool:
        """Read until it breaks off; False when the source has ended."""
        try:
            with self._opener.open() as container:
                return self._read(container, intake)
        except CameraError as error:
            intake.tell(self._watch.trouble(error.reason, str(error)))
        return True

    def _read(self, container: Any, intake: Intake) -> bool:
        """Hand on frames; True to connect anew, False when the source has ended."""
        stream = _video(container)
        reading = _Reading(opened=self._clock.monotonic())
        for packet in self._packets(container, stream):
            now = self._clock.monotonic()
            self._watch.packet()
            if self._spared(packet, reading, now):
                more = intake.lose(Drop.SKIPPED)
            else:
                more = self._decode(packet, reading, intake)
            if not more:
                return False
            if reading.frozen:
                log.warning("%s shows the same picture again and again: connecting anew", self._opener.name)
                return True
        raise CameraError(Reason.ENDED, "the other side closed the stream")

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        import av  # as in `film.Scaler`

        try:
            for packet in container.demux(stream):
                if packet.size:  # the last one is empty and asks for what the decoder holds back
                    yield packet
        except av.FFmpegError as error:
            timeout = isinstance(error, av.ExitError)
            text = f"nothing came for {self._settings.silent_s:g} s" if timeout else error.strerror
            raise CameraError(Reason.SILENT if timeout else Reason.ENDED, text) from None

    def _spared(self, packet: Any, reading: _Reading, now: float) -> bool:
        """Whether a packet is left out for the device's sake; from there on only a key frame can be decoded."""
        if packet.is_keyframe:
            reading.key, reading.torn = now, False
            return False
        if not self._settings.keyframes_when_late or now - reading.key > ALL_KEYS_S:
            return False
        reading.torn = reading.torn or self._haste.hurries(now)
        return reading.torn

    def _decode(self, packet: Any, reading: _Reading, intake: Intake) -> bool:
        """Hand on the frames that a packet completes; False when the source has ended."""
        import av  # as in `film.Scaler`

        try:
            frames = packet.decode()
        except av.FFmpegError:
            return intake.lose(Drop.BROKEN)
        return all(self._frame(frame, reading, intake) for frame in frames)

    def _frame(self, frame: Frame, reading: _Reading, intake: Intake) -> bool:
        if frame.is_corrupt:
            return intake.lose(Drop.BROKEN)
        now = self._clock.monotonic()
        at = frame.time if frame.time is not None else now - reading.opened
        taken = reading.clock.taken(at, arrived=now)
        stale = now - taken > self._settings.silent_s * 0.9  # the demuxer's last one, pressed out by its timeout
        if not stale:
            intake.tell(self._watch.frame())
        if now - reading.opened >= STABLE_S:
            self._backoff.reset()
        if not self._pace.wants(at):
            return intake.lose(Drop.SURPLUS)
        more = intake.offer(frame, at=at, taken=self._clock.now() - (now - taken))
        if not stale:
            self._haste.frame(now, lag=now - taken, late=intake.late)
            self._look(self._frozen, reading, intake)
        return more

    def _look(self, gate: FrozenGate | None, reading: _Reading, intake: Intake) -> None:
        """See whether the picture is frozen after one more frame has passed the gate."""
        if gate is None:
            return
        since, now = gate.since, self._clock.monotonic()
        intake.tell(self._watch.fresh() if since is None else self._watch.frozen(since=since))
        reading.first = min(reading.first, now)
        reading.frozen = self._thaw.due(frozen=since is not None, seen_s=now - reading.first)


@dataclass(slots=True)
class _Reading:
    """One connection."""

    opened: float
    clock: FrameClock = field(default_factory=FrameClock)
    key: float = -math.inf
    """When the last key frame came."""

    torn: bool = False
    """Packets were left out since."""

    first: float = math.inf
    """When the first frame was handed on."""

    frozen: bool = False
    """It gives the same picture for so long that another connection is worth a try."""


def _video(container: Any) -> Any:
    """The stream of pictures, set up for one thread and frames of bounded size."""
    for stream in container.streams.video:
        stream.thread_type, stream.thread_count = "NONE", 1  # the other core belongs to the model
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    raise CameraError(Reason.BROKEN, "there is no video in the stream")


def live_source(
    opener: Opener,
    settings: LiveSettings,
    *,
    stream: str,
    clock: Clock,
    random: Random,
    mask: Mask | None = None,
    gates: Sequence[Gate] = (),
) -> FrameSource:
    """Frames of one camera, watched; `gates` come after the one for frozen pictures."""
    watch = Watch(silent_s=settings.silent_s, clock=clock)
    frozen = FrozenGate(frozen_s=settings.frozen_s, gap_s=settings.silent_s, clock=clock) if settings.frozen_s else None
    backoff = Backoff(first_s=1.0, most_s=settings.retry_s, random=random)
    return FrameSource(
        LivePlayer(opener, settings, watch=watch, frozen=frozen, backoff=backoff, clock=clock),
        stream=stream,
        clock=clock,
        chain=Chain(mask=mask, gates=[*([frozen] if frozen else []), *gates]),
        queue=settings.queue,
        patience_s=PATIENCE_S,
        watch=watch,
    )
