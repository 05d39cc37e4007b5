"""Where the three servers of a coordinator listen, and under which names each is reached; groups of `cloud.settings`.

On one machine all of that is one address. Behind a load balancer, in containers, it is three: what devices are told,
what the server is bound to, and what its neighbours say.
"""

from __future__ import annotations

from typing import Literal

import msgspec

UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104  told apart here, not listened on
"""Addresses that stand for all of a machine's; nobody is reached under them."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where operators and enrolling devices reach the API."""

    host: str = "127.0.0.1"
    """Address to listen on; opening it to a network is your decision."""

    port: int = 8443
    public_host: str = ""
    """Name or address under which others reach it, and which its certificate carries; `host` when empty."""

    inside: str = ""
    """Another name under which neighbours reach it, such as a Kubernetes service; its certificate carries it, too."""


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the MQTT broker is; `init` writes a configuration for a mosquitto there."""

    host: str = "127.0.0.1"
    """Name or address under which devices reach it, and which its certificate carries."""

    port: int = 8883
    listen: str = ""
    """Address that it is bound to, for example `0.0.0.0` behind a load balancer; `host` when empty."""

    inside: str = ""
    """Name under which the coordinator reaches it, such as a Kubernetes service; `host` when empty."""

    reload: Literal["signal", "watch"] = "signal"
    """How it hears of changed lists: the coordinator signals the process that its pid file names, or, where they
    share no processes, `hinterland-coordinator broker-reload` beside it does so when the files change."""


class SuperlinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the federated engine is."""

    enabled: bool = True
    """Without it, this coordinator publishes imported models only."""

    host: str = "127.0.0.1"
    """Name or address under which devices reach it, and which its certificate carries."""

    port: int = 9092
    listen: str = ""
    """Address that it is bound to; `host` when empty."""

    inside: str = ""
    """Name under which the coordinator and its jobs reach it; `host` when empty."""
