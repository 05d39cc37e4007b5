"""The proof that a loaded model can answer, before it gets a single real input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inference.runtime import Array, Session
from shared.bundle import Schema
from shared.errors import FaultError

_BATCHES = {"classification": (1, 2), "detection": (1,)}
"""Batch sizes tried per kind; two prove that the batch axis is free, which detectors do not promise."""


def warm_up(session: Session, schema: Schema) -> None:
    """Run the model once per batch size and check what comes back.

    Raises:
        FaultError: it fails, its outputs do not fit `schema`, or they are not finite.
    """
    if schema.kind not in _BATCHES:
        raise FaultError(f"this agent knows no models for {schema.kind!r}", hint="Update the agent.")
    for size in _BATCHES[schema.kind]:
        check_outputs(session.run(_ramp(schema, size)), schema=schema, batch=size)


def check_outputs(outputs: list[Array], *, schema: Schema, batch: int) -> None:
    """Check the shapes and values of one run over `batch` inputs.

    Raises:
        FaultError: they do not fit `schema` or are not finite.
    """
    check_shapes(outputs, schema=schema, batch=batch)
    if not all(np.isfinite(output).all() for output in outputs):
        raise FaultError("the model's outputs are not finite")


def check_shapes(outputs: list[Array], *, schema: Schema, batch: int) -> None:
    """Check that what reads answers can read these: a model that was fine in its trial may change its mind.

    Raises:
        FaultError: they do not fit `schema`.
    """
    shapes = [list(output.shape) for output in outputs]
    labels = len(schema.labels)
    if schema.kind == "classification":
        fits = shapes == [[batch, labels]]
    else:
        anchors = shapes[0][1] if shapes and len(shapes[0]) == 3 else 0
        fits = anchors > 0 and shapes == [[batch, anchors, 4], [batch, anchors, labels]]
    if not fits:
        raise FaultError(f"outputs of shapes {shapes} do not fit a {schema.kind} over {labels} labels")


def _ramp(schema: Schema, batch: int) -> NDArray[np.float32]:
    """Inputs from −1 to 1: no randomness, and no dead zeros either."""
    shape = (batch, *schema.input_shape)
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
