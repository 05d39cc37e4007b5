import pytest

from edge.pipelines.sources.sensors.units import conversion
from shared.errors import RefusedError


@pytest.mark.parametrize(
    ("value", "given", "wanted", "expected"),
    [
        (100, "degC", "degF", 212),
        (32, "°F", "°C", 0),
        (0, "K", "degC", -273.15),
        (1, "g", "m/s2", 9.80665),
        (9.80665, "m/s²", "g", 1),
        (60, "rpm", "deg/s", 360),
        (1, "bar", "psi", 14.5037738),
        (36, "km/h", "m/s", 10),
        (1, "kWh", "J", 3.6e6),
        (25, "%", "1", 0.25),
        (3, "counts", "counts", 3),
    ],
)
def test_values_are_converted(value: float, given: str, wanted: str, expected: float) -> None:
    line = conversion(given, wanted)
    assert value * line.scale + line.offset == pytest.approx(expected)


@pytest.mark.parametrize(("given", "wanted"), [("g", "degC"), ("counts", "V"), ("V", "counts"), ("gram", "g")])
def test_what_cannot_be_converted_is_refused(given: str, wanted: str) -> None:
    with pytest.raises(RefusedError):
        conversion(given, wanted)
