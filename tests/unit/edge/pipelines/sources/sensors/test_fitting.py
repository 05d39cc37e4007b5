import numpy as np
import pytest

from edge.pipelines.sources.sensors.fitting import fit_windows
from edge.pipelines.sources.sensors.windows import Windows
from edge.settings import sensors as conf
from shared.bundle import Schema
from shared.errors import FaultError
from tests.sensors import schema_of

CHANNELS = [conf.Channel(name="temp", unit="degF"), conf.Channel(name="x", unit="mg", scale=2.0, offset=1.0, high=900)]


def test_channels_are_found_by_name_and_come_in_the_models_unit() -> None:
    fit = fit_windows(CHANNELS, conf.Window(), schema_of([2, 1], rate=1, channels=["x", "temp"], units=["g", "degC"]))
    assert fit.columns == {1: 0, 0: 1}
    windows = Windows(fit.windows)
    windows.add(np.array([0.0]), np.array([[212.0, 49.5]]), [fit.columns[0], fit.columns[1]])
    np.testing.assert_allclose(windows.cut().x, [[[0.1], [100.0]]], rtol=1e-6)


def test_bounds_are_in_the_channels_unit() -> None:
    fit = fit_windows(CHANNELS, conf.Window(rate=1), schema_of([2, 1]))
    windows = Windows(fit.windows)
    windows.add(np.array([0.0, 1.0]), np.array([[1.0, 449.0], [1.0, 450.0]]))
    assert windows.lost.total() == 1


def test_without_names_the_order_counts() -> None:
    assert fit_windows(CHANNELS, conf.Window(rate=5), schema_of([2, 10])).columns == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("schema", "window", "said"),
    [
        (schema_of([2, 10], rate=5, channels=["x", "y"]), conf.Window(), "lacks y"),
        (schema_of([3, 10], rate=5), conf.Window(), "takes 3 channels"),
        (schema_of([2, 10]), conf.Window(), "points a second"),
        (schema_of([2, 10], rate=5), conf.Window(rate=6), "trained at 5"),
        (schema_of([2, 10], rate=5, units=["V", "g"]), conf.Window(), "channel temp: degF"),
        (Schema(kind="detection", labels=[], input_shape=[3, 8, 8]), conf.Window(), "takes"),
    ],
)
def test_what_does_not_fit_is_said(schema: Schema, window: conf.Window, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        fit_windows(CHANNELS, window, schema)
