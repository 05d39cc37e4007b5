"""How unlike what a model has learned an input is, and from where on that is an anomaly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import ContractError

Floats = NDArray[np.float32]

RECONSTRUCTION, FORECAST, SCORE = "reconstruction", "forecast", "score"
HEADS = (RECONSTRUCTION, FORECAST, SCORE)
"""What the model gives: its input again, as it would have it; the last points of its input, foretold from those before
(the graph must not look at them); or the score itself."""


def head_fits(head: str, shapes: list[list[int]], *, batch: int, input_shape: list[int]) -> bool:
    """Whether outputs of these shapes are of this layout."""
    if len(shapes) != 1:
        return False
    if head == SCORE:
        return shapes[0] in ([batch], [batch, 1])
    if head == RECONSTRUCTION:
        return shapes[0] == [batch, *input_shape]
    return (
        len(shapes[0]) == 3
        and shapes[0][:2] == [batch, input_shape[0]]
        and len(input_shape) == 2
        and 0 < shapes[0][2] < input_shape[1]
    )


def scores(head: str, output: Floats, x: Floats) -> NDArray[np.float64]:
    """One score an input, [n]: the mean square of what the model got wrong, or what it says itself.

    Args:
        head: the layout; one of `HEADS`.
        output: that `head_fits`.
        x: the inputs as the model got them, [n, …].
    """
    if head == SCORE:
        return output.reshape(len(output)).astype(np.float64)
    truth = x if head == RECONSTRUCTION else x[..., -output.shape[-1] :]
    wrong = output - truth
    axes = tuple(range(1, wrong.ndim))
    result: NDArray[np.float64] = np.mean(np.square(wrong), axis=axes, dtype=np.float64)
    return result


def threshold_for(normal: NDArray[np.float64], *, alarms: float) -> float:
    """The score that a share `alarms` (0 to 1) of normal inputs exceeds; from inputs the model was not trained on.

    Raises:
        ContractError: there are too few of them to tell so small a share.
    """
    if not 0 < alarms < 1 or len(normal) * alarms < 1:
        raise ContractError(f"{len(normal)} normal inputs do not tell where {alarms:g} of them would lie")
    return float(np.quantile(normal, 1 - alarms, method="higher"))
