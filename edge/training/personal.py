"""A round as this device's own part of the model and the run's compression have it.

begin: global weights, with the device's own tensors in place → train → send: what is shared, maybe compressed
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from edge.training.kept import Kept, KeptStore
from shared import federation as fed
from shared.federation import Instruction
from shared.task import Trained, Weights
from shared.tasks.compression import Kind, compress
from shared.tasks.local_parts import local_names, shared_values
from shared.tasks.records import FLAT, flatten


def line_of(wanted: Instruction) -> str:
    """Under which name the device keeps its part."""
    return wanted.model or wanted.task


def with_own(
    weights: Mapping[str, NDArray[np.float32]], own: Mapping[str, NDArray[np.float32]], wanted: Instruction
) -> Weights:
    """Global weights with this device's own tensors in place; one that has another shape by now starts afresh."""
    names = {name for name in local_names(weights, wanted.local_parts) if name in own}
    return {
        name: own[name] if name in names and own[name].shape == values.shape else values
        for name, values in weights.items()
    }


def answer(
    store: KeptStore,
    wanted: Instruction,
    *,
    begun: Kept,
    weights: Mapping[str, NDArray[np.float32]],
    trained: Trained,
) -> RecordDict:
    """Keep what stays here, durably, and return what is sent.

    Args:
        store: where.
        wanted: what the run asked.
        begun: what the round began with.
        weights: the global weights as they came.
        trained: what became of them.
    """
    shared = shared_values({name: values.shape for name, values in weights.items()}, wanted.local_parts)
    sent = flatten(trained.weights)[shared]
    metrics = MetricRecord({fed.EXAMPLES: trained.examples, fed.LOSS: trained.loss})
    content, residual = RecordDict({fed.METRICS: metrics}), None
    if wanted.compression.kind is Kind.NONE:
        content[fed.ARRAYS] = ArrayRecord({FLAT: Array(sent)})
    else:
        change = sent - flatten(weights)[shared]
        lost = begun.residual if begun.residual is not None and begun.residual.shape == sent.shape else None
        data, residual = compress(
            change, np.zeros_like(sent) if lost is None else lost, compression=wanted.compression, seed=wanted.seed
        )
        content[fed.CONFIG] = ConfigRecord({fed.UPDATE: data})
    local = {name: trained.weights[name] for name in local_names(trained.weights, wanted.local_parts)}
    if local or residual is not None:
        after = Kept(local=begun.local | local, residual=residual)
        store.commit(line_of(wanted), run=wanted.run, round_=wanted.round, before=begun, after=after)
    return content
