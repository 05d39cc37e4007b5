import pytest

from fleet.commands.fleets import read_window
from shared.distribution import TimeWindow
from shared.errors import RefusedError


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("22:00-05:00", TimeWindow(start="22:00", end="05:00")),
        ("Mon,tue 22:00-05:00", TimeWindow(days=["mon", "tue"], start="22:00", end="05:00")),
        ("22:00-05:00 Europe/Berlin", TimeWindow(start="22:00", end="05:00", zone="Europe/Berlin")),
        ("sat 00:00-24:00 Etc/GMT-3", TimeWindow(days=["sat"], zone="Etc/GMT-3")),
    ],
)
def test_windows_are_read_as_people_write_them(text, window):
    assert read_window(text) == window


@pytest.mark.parametrize("text", ["", "mon", "22:00", "a b 22:00-05:00", "mon 22:00-05:00 UTC more"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(RefusedError, match="no window"):
        read_window(text)
