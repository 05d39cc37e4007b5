"""Devices as the store holds them, where a test cares about few of their fields."""

from __future__ import annotations

from typing import Any

from cloud.store.devices import Device, DeviceState


def enrolled(name: str, **said: Any) -> Device:
    """A device that is let in, of fleet `f`; `said` has the fields that matter."""
    usual: dict[str, Any] = {
        "fleet": "f", "state": DeviceState.ENROLLED, "hardware": [], "public_key": b"k", "serial": "1",
        "expires_at": 9e9, "enrolled_at": 0.0, "last_seen": 0.0,
    }  # fmt: skip
    return Device(id=name, **usual | said)
