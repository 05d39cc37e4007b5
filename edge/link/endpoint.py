"""Where a device's broker is, and with which papers it is met."""

from __future__ import annotations

from collections.abc import Callable

from edge.identity import Identity
from shared.bus.mqtt import Endpoint


def endpoint_of(identity: Identity, *, now: Callable[[], float]) -> Endpoint:
    """The broker that a device was told of when it enrolled; `now` (Unix seconds) judges its certificate."""
    return Endpoint(
        host=identity.broker_host,
        port=identity.broker_port,
        ca=identity.authority_file,
        certificate=identity.certificate_file,
        key=identity.key_file,
        now=now,
    )
