"""The proof that a loaded model can answer, before it gets a single real input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.inference.kinds import check_kind, kind_of, together
from edge.inference.runtime import Array, Session
from shared.bundle import Schema
from shared.errors import FaultError


def warm_up(session: Session, schema: Schema) -> None:
    """Run the model once per batch size and check what comes back.

    Two sizes prove that the batch axis is free, where several inputs are answered at once.

    Raises:
        FaultError: its kind is unknown, it fails, its outputs do not fit `schema`, or they are not finite.
    """
    check_kind(schema)
    for size in (1, 2) if together(schema) else (1,):
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
    if not kind_of(schema).fits(shapes, schema, batch=batch):
        raise FaultError(f"outputs of shapes {shapes} do not fit a {schema.kind} over {len(schema.labels)} labels")


def _ramp(schema: Schema, batch: int) -> NDArray[np.float32]:
    """Inputs from −1 to 1: no randomness, and no dead zeros either."""
    shape = (batch, *schema.input_shape)
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
