"""Facts of a Linux machine, from /proc and /sys; what cannot be read there is not said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge.facts.port import Power
from shared.bundle import Runtime

DISTRIBUTIONS: dict[Runtime, tuple[str, ...]] = {
    Runtime.ONNXRUNTIME: ("onnxruntime", "onnxruntime-gpu"),
    Runtime.TENSORRT: ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    Runtime.TENSORRT_RTX: ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    Runtime.OPENVINO: ("openvino",),
}
"""Under which names a runtime may be installed."""

PLAUSIBLE_C = (-40.0, 150.0)
"""Sensors without a reading say things like -274 or 255 degrees."""

MAX_FACT = 64 << 10
"""Bytes read of a file; the longest, /proc/meminfo, has about 1,500."""


class LinuxFacts:
    """Reads below the given roots, so that a made tree can stand in for the machine's own."""

    def __init__(self, *, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys

    def memory_mib(self) -> int | None:
        for line in _text(self._proc / "meminfo").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                number = _number(value.removesuffix("kB"))
                return None if number is None else int(number) >> 10
        return None

    def disk_bytes(self, path: Path) -> int | None:
        for place in (path, *path.parents):
            try:
                disk = os.statvfs(place)
            except FileNotFoundError:
                continue  # not made yet: it will lie where its parent lies
            except OSError:
                return None
            return disk.f_bavail * disk.f_frsize
        return None

    def power(self) -> Power:
        supplies = [supply for supply in _each(self._sys / "class/power_supply") if _word(supply / "scope") != "Device"]
        batteries = [supply for supply in supplies if _word(supply / "type") == "Battery"]
        if not batteries:
            return Power()
        outlets = [_word(supply / "online") for supply in supplies if _word(supply / "type") in ("Mains", "USB")]
        outlets = [online for online in outlets if online]
        drained = any(_word(battery / "status") == "Discharging" for battery in batteries)
        charges = [charge for battery in batteries if (charge := _number(_word(battery / "capacity"))) is not None]
        return Power(
            # some boards do not say whether they are plugged in, but only that a battery empties
            on_battery="1" not in outlets if outlets else drained,
            charge=sum(charges) / len(charges) if charges else None,
        )

    def hottest_c(self) -> float | None:
        zones = (zone for zone in _each(self._sys / "class/thermal") if zone.name.startswith("thermal_zone"))
        found = [milli / 1000 for zone in zones if (milli := _number(_word(zone / "temp"))) is not None]
        least, most = PLAUSIBLE_C
        return max((degrees for degrees in found if least < degrees < most), default=None)

    def version(self, runtime: Runtime) -> str | None:
        from importlib.metadata import PackageNotFoundError, version  # 20 ms that only an update pays

        for name in DISTRIBUTIONS.get(runtime, ()):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        return None


def _each(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(directory.iterdir())
    except OSError:
        return


def _word(path: Path) -> str:
    return _text(path).strip()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FACT).decode(errors="replace")
    except OSError:  # a sensor may be there and have nothing to say
        return ""


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if text.removeprefix("-").isdecimal() and text.isascii() else None
