"""What people read of a device: how long its certificate lasts, and whether its key seems to be in two places."""

from rich.console import Console

from fleet import tables
from shared.api import Device

WATCH = Device(
    id="watch-1", fleet="wards", state="enrolled", hardware=["cpu"], node="7", serial="42",
    expires_at=1_767_225_600.0 + 30 * 86_400, enrolled_at=1_767_225_600.0, last_seen=1_767_225_600.0,
)  # fmt: skip
COPIED = Device(**{**{name: getattr(WATCH, name) for name in WATCH.__struct_fields__}, "alarm": "two outboxes"})


def text(*shown):
    console = Console(width=200)
    with console.capture() as captured:
        for each in shown:
            console.print(each)
    return captured.get()


def test_the_list_says_how_long_a_certificate_lasts_and_which_device_is_in_alarm():
    said = text(tables.devices([WATCH, COPIED]))
    assert said.count("2026-01-3") == 2
    assert said.count("ALARM") == 1


def test_one_device_in_full():
    calm, alarmed = text(*tables.device(WATCH)), text(*tables.device(COPIED))
    assert "42, until 2026-01-3" in calm
    assert "revoked" not in calm
    assert "two outboxes" in alarmed
