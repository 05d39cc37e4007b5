"""When a device asks for its next certificate. Pure."""

from __future__ import annotations

from shared.ids import sha256

EARLIEST = 0.5
"""Share of its life after which a certificate is renewed at the earliest."""

LATEST = 0.75
"""At the latest; what is left is for a coordinator, or a device, that is away."""


def renewal_at(device: str, *, begins: float, ends: float) -> float:
    """Unix seconds at which `device` renews a certificate that is good from `begins` to `ends`.

    Devices that were enrolled in one morning must not come back in one morning, so each has a place of its own between
    `EARLIEST` and `LATEST`, by its name and the certificate's life; the same after every restart.
    """
    life = ends - begins
    place = int(sha256(f"{device} {life:.0f}".encode())[:13], 16) / 16**13
    return begins + life * (EARLIEST + (LATEST - EARLIEST) * place)
