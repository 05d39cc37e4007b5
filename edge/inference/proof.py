"""An engine proves itself before its first real input: it answers what the float model answered, or it is refused.

Where an engine was built no such GPU may have been, so the first device to load it is the first to run it. The
rollout's canaries are those devices: one that fails here fails its release, and a first wave tolerates no failure.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from edge.inference.runtime import Session
from shared.bundle import Runtime
from shared.engine import Engine
from shared.errors import FaultError, TrustError
from shared.parity import Likeness, compare

BATCH = 1
"""Inputs at once: every engine takes one."""


def check_place(engine: Engine, *, runtime: Runtime, sm: int) -> None:
    """Whether this engine can run here at all.

    Args:
        engine: the checked file.
        runtime: what would execute it.
        sm: generation of the GPU that is here; 0 for none.

    Raises:
        TrustError: it is for another runtime: somebody signed something else than he meant.
        FaultError: for another GPU, or there is none.
    """
    notes = engine.notes
    if notes.runtime is not runtime:
        raise TrustError(f"the engine is for {notes.runtime}, and was signed for {runtime}")
    if sm == 0:
        raise FaultError(
            f"the engine is for SM{notes.sm}, and no NVIDIA GPU answers here", hint="Look at the driver: nvidia-smi."
        )
    if notes.sm != sm:
        raise FaultError(
            f"the engine is for SM{notes.sm}, this device's GPU is SM{sm}",
            hint=f"Set agent.hardware to what is there, sm{sm}, and release a file for it.",
        )


def prove(session: Session, engine: Engine) -> Likeness:
    """Run the proof; return how alike the answers were.

    Raises:
        FaultError: they are not alike enough, not finite, or not of the float model's shapes.
    """
    answered = [session.run(engine.inputs[at : at + BATCH]) for at in range(0, len(engine.inputs), BATCH)]
    counts: Collection[int] = {len(each) for each in answered}
    if counts != {len(engine.answers)}:
        raise FaultError(f"the engine gives {counts} outputs, the float model {len(engine.answers)}")
    said = [np.concatenate(parts) for parts in zip(*answered, strict=True)]
    for mine, truth in zip(said, engine.answers, strict=True):
        if mine.shape != truth.shape or not np.isfinite(mine).all():
            raise FaultError(f"the engine's answers {list(mine.shape)} are not finite or not {list(truth.shape)}")
    likeness = compare(engine.answers, said, kind=engine.notes.kind)
    asked = engine.notes.parity
    least = asked.matched if engine.notes.kind == "detection" else asked.agreement
    if likeness.agreement < least or likeness.difference > asked.difference:
        raise FaultError(
            f"parity failed on this device: {sum(likeness.found)} of {sum(likeness.present)} alike, "
            f"{least:.2f} are asked; outputs differ by {likeness.difference:.3f} of their span, "
            f"{asked.difference:.3f} is allowed",
            hint="Keep the release from this kind of hardware; the file for a processor is not touched by this.",
        )
    return likeness
