"""Loopback ports: find free ones, and say plainly when a wanted one is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from shared.errors import RefusedError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listened on a moment ago."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


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
