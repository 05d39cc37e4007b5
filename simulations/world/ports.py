"""Loopback ports: find free ones, and say plainly when a wanted one is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from random import SystemRandom

from shared.errors import RefusedError

LOOPBACK = "127.0.0.1"


LEAST, OUTGOING = 10_000, 32_768
"""Ports from which free ones are drawn, up to where the kernel takes those of outgoing connections (its default)."""


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody uses, and that no outgoing connection takes before a server listens there.

    Where outgoing connections may have any port, whichever the kernel says are free.
    """
    first = _outgoing()
    wanted = SystemRandom().sample(range(LEAST, first), min(50 * count, first - LEAST)) if first > LEAST else []
    found: list[int] = []
    sockets: list[socket.socket] = []
    try:
        for port in [*wanted, *[0] * count]:
            if len(found) == count:
                break
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                sockets[-1].bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(sockets[-1].getsockname()[1])
        return found
    finally:
        for each in sockets:
            each.close()


def _outgoing() -> int:
    """The first port of outgoing connections."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return OUTGOING


def require_free(ports: Iterable[int]) -> None:
    """Check that nobody listens on `ports`.

    Raises:
        RefusedError: one is taken.
    """
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise RefusedError(
                    f"port {port} is in use",
                    hint=f"Stop what listens there (`ss -ltnp 'sport = :{port}'`) or choose others with --port-base.",
                ) from error


def answers(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
