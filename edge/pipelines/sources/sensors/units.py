"""From the unit in which a sensor speaks to the one in which a model was trained.

A table and no library: pint 0.25 takes 0.28 s and 22 MiB to load, for what is one factor and one offset a channel.
Factors are those of the SI brochure (9th edition, 2019) and NIST SP 811 (2008), appendix B.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from shared.errors import RefusedError


class Line(NamedTuple):
    """value · scale + offset."""

    scale: float
    offset: float


SAME = Line(1.0, 0.0)

_TABLE: dict[str, dict[str, Line]] = {
    "temperature": {"degC": SAME, "K": Line(1.0, -273.15), "degF": Line(5 / 9, -160 / 9)},
    "acceleration": {"m/s2": SAME, "g": Line(9.80665, 0.0), "mg": Line(9.80665e-3, 0.0)},
    "rotation": {"rad/s": SAME, "deg/s": Line(math.pi / 180, 0.0), "rpm": Line(math.pi / 30, 0.0)},
    "angle": {"rad": SAME, "deg": Line(math.pi / 180, 0.0)},
    "length": {
        "m": SAME, "cm": Line(1e-2, 0.0), "mm": Line(1e-3, 0.0), "um": Line(1e-6, 0.0),
        "in": Line(0.0254, 0.0), "ft": Line(0.3048, 0.0),
    },
    "speed": {
        "m/s": SAME, "mm/s": Line(1e-3, 0.0), "km/h": Line(1 / 3.6, 0.0), "in/s": Line(0.0254, 0.0),
    },
    "pressure": {
        "Pa": SAME, "hPa": Line(1e2, 0.0), "kPa": Line(1e3, 0.0), "MPa": Line(1e6, 0.0),
        "mbar": Line(1e2, 0.0), "bar": Line(1e5, 0.0), "psi": Line(6894.757293168, 0.0),
    },
    "mass": {"kg": SAME, "gram": Line(1e-3, 0.0), "t": Line(1e3, 0.0), "lb": Line(0.45359237, 0.0)},
    "force": {"N": SAME, "kN": Line(1e3, 0.0)},
    "torque": {"N.m": SAME, "kN.m": Line(1e3, 0.0)},
    "voltage": {"V": SAME, "mV": Line(1e-3, 0.0), "kV": Line(1e3, 0.0)},
    "current": {"A": SAME, "mA": Line(1e-3, 0.0)},
    "power": {"W": SAME, "kW": Line(1e3, 0.0), "MW": Line(1e6, 0.0)},
    "energy": {"J": SAME, "kJ": Line(1e3, 0.0), "Wh": Line(3600.0, 0.0), "kWh": Line(3.6e6, 0.0)},
    "frequency": {"Hz": SAME, "kHz": Line(1e3, 0.0)},
    "time": {
        "s": SAME, "ms": Line(1e-3, 0.0), "min": Line(60.0, 0.0), "h": Line(3600.0, 0.0), "d": Line(86400.0, 0.0),
    },
    "ratio": {"1": SAME, "%": Line(1e-2, 0.0), "ppm": Line(1e-6, 0.0)},
    "volume": {"m3": SAME, "l": Line(1e-3, 0.0)},
    "flow": {"m3/s": SAME, "m3/h": Line(1 / 3600, 0.0), "l/s": Line(1e-3, 0.0), "l/min": Line(1e-3 / 60, 0.0)},
    "illuminance": {"lx": SAME, "klx": Line(1e3, 0.0)},
}  # fmt: skip
"""Quantity → unit → the line to the quantity's own unit. `g` is standard gravity; the unit of mass is `gram`."""

_BY_UNIT = {unit: (quantity, line) for quantity, units in _TABLE.items() for unit, line in units.items()}

_SPELLINGS = {"°C": "degC", "C": "degC", "°F": "degF", "F": "degF", "m/s²": "m/s2", "m/s^2": "m/s2", "°/s": "deg/s",
              "°": "deg", "µm": "um", "m³": "m3", "m³/h": "m3/h", "Nm": "N.m", "": ""}  # fmt: skip


def conversion(given: str, wanted: str) -> Line:
    """What turns values in `given` into values in `wanted`; a unit that is not in the table converts to itself only.

    Raises:
        RefusedError: there is no such way.
    """
    given, wanted = _SPELLINGS.get(given, given), _SPELLINGS.get(wanted, wanted)
    if given == wanted:
        return SAME
    for unit in (given, wanted):
        if unit not in _BY_UNIT:
            raise RefusedError(
                f"no unit {unit[:40]!r} is known, so {given[:40]!r} is not {wanted[:40]!r}",
                hint=f"Known units: {', '.join(_BY_UNIT)}.",
            )
    (quantity, there), (other, back) = _BY_UNIT[given], _BY_UNIT[wanted]
    if quantity != other:
        raise RefusedError(f"{given} is a unit of {quantity}, {wanted} one of {other}")
    return Line(there.scale / back.scale, (there.offset - back.offset) / back.scale)
