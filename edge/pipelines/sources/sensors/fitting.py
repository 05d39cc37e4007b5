"""From a sensor's settings and a model's schema to the windows that the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge.pipelines.sources.sensors.resample import Resample
from edge.pipelines.sources.sensors.units import conversion
from edge.pipelines.sources.sensors.windows import Channel, WindowSettings
from edge.settings import sensors as conf
from shared.bundle import Schema
from shared.errors import FaultError, RefusedError

GAP_POINTS = 3
"""Points that may be bridged where nobody says more."""


class Fit(NamedTuple):
    """How a sensor serves one model."""

    windows: WindowSettings
    columns: dict[int, int]
    """Channel of the settings → channel of the model."""


def fit_windows(channels: Sequence[conf.Channel], window: conf.Window, schema: Schema) -> Fit:
    """Match channels by name where the model names its own, by order where it does not.

    Raises:
        FaultError: the model wants other channels, units or no windows at all; the message says which.
    """
    if len(schema.input_shape) != 2:
        raise FaultError(f"a sensor gives windows [channels, points], the model takes {schema.input_shape}")
    count, length = schema.input_shape
    signal = schema.signal or None
    order = _order(channels, signal.channels if signal else [], count)
    units = signal.units if signal and signal.units else [""] * count
    rate = window.rate or (signal.rate if signal else 0.0)
    if signal and signal.rate and window.rate and window.rate != signal.rate:
        raise FaultError(
            f"the model was trained at {signal.rate:g} points a second, window.rate says {window.rate:g}",
            hint="Leave window.rate out.",
        )
    if rate <= 0:
        raise FaultError("nobody says how many points a second a window has", hint="Set window.rate.")
    settings = WindowSettings(
        channels=tuple(_channel(channels[index], unit) for index, unit in zip(order, units, strict=True)),
        length=length,
        stride=window.stride or length,
        rate=rate,
        gap_s=window.gap_s or GAP_POINTS / rate,
        resample=Resample(window.resample),
        late_s=window.late_s,
    )
    return Fit(settings, {index: place for place, index in enumerate(order)})


def _order(channels: Sequence[conf.Channel], wanted: Sequence[str], count: int) -> list[int]:
    names = [each.name for each in channels]
    if not wanted:
        if len(names) != count:
            raise FaultError(f"the model takes {count} channels, the sensor has {len(names)}: {', '.join(names)}")
        return list(range(count))
    missing = [name for name in wanted if name not in names]
    if missing:
        raise FaultError(
            f"the model takes the channels {', '.join(wanted)}; the sensor lacks {', '.join(missing)}",
            hint="Name the channels of the source as the model does.",
        )
    return [names.index(name) for name in wanted]


def _channel(given: conf.Channel, wanted: str) -> Channel:
    try:
        line = conversion(given.unit, wanted) if given.unit and wanted else conversion("", "")
    except RefusedError as error:
        raise FaultError(f"channel {given.name}: {error}", hint=error.hint) from error
    least, most = (
        (bound - given.offset) / given.scale if bound is not None and given.scale else default
        for bound, default in ((given.low, -np.inf), (given.high, np.inf))
    )
    return Channel(
        scale=given.scale * line.scale,
        offset=given.offset * line.scale + line.offset,
        low=min(least, most) if given.scale < 0 else least,
        high=max(least, most) if given.scale < 0 else most,
    )
