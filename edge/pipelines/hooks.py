"""What the agent hangs onto a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.pipelines.answer import Answer, Interpret
from edge.pipelines.sinks import Sink
from edge.pipelines.sources.port import Sample
from edge.pipelines.tasks.classify import classify
from edge.pipelines.tempo import Thinning
from shared.messages import DriftReport, ShadowReport, Telemetry
from shared.topics import Up


class Emit(Protocol):
    """Hands a message to the outbox; must not block."""

    def __call__(self, channel: Up, message: Telemetry | DriftReport | ShadowReport, /) -> None:
        """Take `message` for `channel`.

        Raises:
            FaultError: it could not be kept; the pipeline logs that and goes on.
        """
        ...


Stage = Callable[[Sample, Answer], Answer]
"""Takes an input and its answer, and gives the answer with what it adds."""


def _unknown() -> None:
    """No device is known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """All optional; called in the event loop unless said otherwise."""

    interpret: Interpret = classify
    """How to read the model's outputs; called in the pipeline's thread."""

    stages: Sequence[Stage] = ()
    """What an answer passes before it counts, in order; called in the pipeline's thread, in the order of the inputs."""

    sinks: Sequence[Sink] = ()
    """Called in the pipeline's thread."""

    remember: Callable[[str, NDArray[np.float32]], Any] | None = None
    """Takes (id, input) of every input that may be labelled later."""

    labels_held: Callable[[], int] = int
    """Labelled live examples the device holds, in total; reported with telemetry."""

    on_release: Callable[[str], Any] | None = None
    """Told the release id once the first batch of another release has been answered."""

    thinning: Thinning | None = None
    """The source's gate that leaves frames out to keep up; told how late answers are."""

    temperature: Callable[[], float | None] = _unknown
    """Hottest thermal zone of the device, in degrees Celsius; None where it has none."""
