"""Publish and subscribe: the port that devices and coordinator talk through.

`shared.bus.mqtt` is the real one (MQTT 5 over mutual TLS), `shared.bus.memory` its twin for tests and
simulations; `tests/contract/test_bus.py` runs against both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as it arrived."""

    topic: str
    payload: bytes
    retained: bool = False
    """True when the broker kept it from before the subscription."""


Handler = Callable[[Delivery], Awaitable[None]]


class Bus(Protocol):
    """A session with a broker that heals itself."""

    @property
    def connected(self) -> bool:
        """Whether publications leave now."""
        ...

    @property
    def sessions(self) -> int:
        """How often a session was opened; a broker that was replaced in between may have forgotten everything."""
        ...

    @property
    def taken_over(self) -> int:
        """How many sessions ended because another holder of this identity opened one: never a restart of ours."""
        ...

    def reopen(self) -> None:
        """End the present session, if there is one, and open another, with whatever certificate there is now.

        Safe from any thread. Publications that were not acknowledged raise `TransportError`, as when a link breaks.
        """
        ...

    def on(self, topic_filter: str, handler: Handler) -> None:
        """Deliver what matches `topic_filter` to `handler`, one at a time and in order.

        May be called before `run` or during it; the subscription is made again after each reconnect. What is
        published after `on` leaves after the subscription, so an answer to it is not missed.
        A handler that raises `ContractError` is counted and the message dropped. A topic that two filters
        match reaches each handler once.

        Raises:
            ValueError: the filter has a handler already.
        """
        ...

    async def off(self, topic_filter: str) -> None:
        """Forget a subscription."""
        ...

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Hand `payload` to the broker; with QoS 1 return after its PUBACK.

        A PUBACK is not durability: what must not be lost waits for an acknowledgement of its own.

        Raises:
            TransportError: not connected, or the connection broke before the PUBACK.
        """
        ...

    async def run(self) -> None:
        """Keep the session alive until cancelled: connect, subscribe, dispatch, back off with jitter, repeat."""
        ...
