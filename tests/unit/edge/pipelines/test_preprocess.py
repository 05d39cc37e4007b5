import numpy as np
import pytest

from edge.pipelines.preprocess import normalise, stack
from shared.bundle import Schema


def test_inputs_become_a_batch() -> None:
    assert stack([np.zeros((2, 3), np.float32)] * 4).shape == (4, 2, 3)
    assert stack([np.zeros((2, 3), np.float32)]).shape == (1, 2, 3)


@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 2, 3, 4)])
def test_channels_are_normalised_where_the_graph_does_not(shape: tuple[int, ...]) -> None:
    schema = Schema(kind="classification", labels=[], input_shape=list(shape[1:]), mean=[1, 2], std=[2, 4])
    batch = np.ones(shape, np.float32)
    normal = normalise(batch, schema)
    assert normal.dtype == np.float32
    assert (normal[:, 0] == 0).all()
    assert (normal[:, 1] == -0.25).all()
    assert (batch == 1).all()


def test_graphs_that_normalise_get_their_inputs_as_they_are() -> None:
    batch = np.ones((1, 2, 3), np.float32)
    assert normalise(batch, Schema(kind="classification", labels=[], input_shape=[2, 3])) is batch
