"""The port to a kind of model: what its outputs must look like, how inputs are prepared, and what the answers are."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge.inference.kinds import Kind, find
from edge.inference.runtime import Array
from edge.pipelines.answer import Answer
from edge.pipelines.preprocess import normalise
from shared.bundle import Schema


class Task(Kind, Protocol):
    """One kind. Inherit from it: what is not written then is as it is here."""

    together: bool = True

    def check(self, schema: Schema) -> str:
        """What is wrong with a schema of this kind; empty if nothing is."""
        return ""

    def prepare(self, batch: NDArray[np.float32], schema: Schema) -> NDArray[np.float32]:
        """Inputs [n, *input_shape] as the model takes them."""
        return normalise(batch, schema)

    def read(self, outputs: list[Array], schema: Schema, x: Array, *, threshold: float) -> list[Answer | None]:
        """The answers to a batch; None for an input whose outputs are not finite. Runs in the pipeline's thread.

        Args:
            outputs: of the model, as `fits` lets them pass.
            schema: of the release that answered.
            x: the inputs as the model got them.
            threshold: the pipeline's own least score of an object, 0 to 1.
        """
        ...


def task_of(schema: Schema) -> Task:
    """The task that reads a model's answers.

    Raises:
        FaultError: this agent knows none for it.
    """
    return cast(Task, find(schema.kind))
