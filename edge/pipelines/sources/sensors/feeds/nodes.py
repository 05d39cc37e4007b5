"""Nodes of an OPC UA server. The server sends what changes; requests that could change anything never leave here."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from edge.pipelines.sources.sensors.port import Readings
from edge.settings import sensors as conf
from shared.clock import Clock
from shared.errors import FaultError, RefusedError, TransportError

MOST_WAITING = 10_000
"""Changes that wait to be read; over it the oldest go."""

QUEUE = 1000
"""Changes of one node that the server keeps between two messages."""

TIMEOUT_S = 4.0
SESSION_S = 60
"""Seconds after which a server forgets a client that it does not hear."""


READS = frozenset(
    {
        "ActivateSessionRequest", "BrowseNextRequest", "BrowseRequest", "CloseSessionRequest",
        "CreateMonitoredItemsRequest", "CreateSessionRequest", "CreateSubscriptionRequest",
        "DeleteMonitoredItemsRequest", "DeleteSubscriptionsRequest", "GetEndpointsRequest", "PublishRequest",
        "ReadRequest", "TranslateBrowsePathsToNodeIdsRequest",
    }
)  # fmt: skip
"""Requests (OPC UA Part 4, 5) that leave a server's nodes as they are."""


class OnlyReads:
    """An observer of asyncua's, which is asked before each request."""

    def observe_request(self, request: Any) -> AbstractContextManager[None]:
        """Let a request pass, if it only reads."""
        if type(request).__name__ not in READS:
            raise RefusedError(f"OPC UA's {type(request).__name__} is not one that only reads")
        return nullcontext()

    def on_state_change(self, state: Any) -> None:
        """Nothing to say."""

    def on_subscription_event(self, subscription: int | None, event: Any) -> None:
        """Nothing to say."""

    def on_notification(self, subscription: int | None, count: int) -> None:
        """Nothing to say."""


class _Inbox:
    """Changes as the server reports them, by channel."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changes: list[tuple[int, float, float]] = []
        self.channels: dict[Any, list[int]] = defaultdict(list)
        """Node → channels."""

        self.news = asyncio.Event()

    def datachange_notification(self, node: Any, _value: Any, data: Any) -> None:
        """Called by asyncua."""
        for channel in self.channels[node.nodeid]:
            self.put(channel, data.monitored_item.Value)

    def put(self, channel: int, value: Any, *, now: bool = False) -> None:
        """Keep a value with the time that its source gave; with `now` it still stands."""
        given = value.Value.Value if value.Value is not None else None
        good = value.StatusCode is None or value.StatusCode.is_good()
        number = float(given) if good and isinstance(given, (int, float)) else np.nan
        stamp = value.SourceTimestamp or value.ServerTimestamp
        at = self._clock.now() if now or stamp is None else stamp.replace(tzinfo=UTC).timestamp()
        self._changes.append((channel, at, number))
        del self._changes[:-MOST_WAITING]
        self.news.set()

    def drain(self) -> list[Readings]:
        """What has come, channel by channel."""
        changes, self._changes = self._changes, []
        self.news.clear()
        by_channel: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for channel, at, number in changes:
            by_channel[channel].append((at, number))
        return [
            Readings(np.array([at for at, _ in each]), np.array([[number] for _, number in each]), (channel,))
            for channel, each in by_channel.items()
        ]


class NodeFeed:
    """One subscription for all channels.

    A client is made anew for each session: one that lost its server may hang when it connects again (asyncua's issue
    1660). Values that do not change are read every `refresh_s`, which also shows that the server still answers.
    """

    patient = False

    def __init__(self, settings: conf.OpcuaSource, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def session(self) -> AsyncGenerator[Readings, None]:
        client, failure = await make_client(self._settings)
        inbox = _Inbox(self._clock)
        try:
            await asyncio.wait_for(client.connect(), 4 * TIMEOUT_S)
            nodes = [client.get_node(each.node) for each in self._settings.channels]
            for index, node in enumerate(nodes):
                inbox.channels[node.nodeid].append(index)
            await self._subscribe(client, nodes, inbox)
            refreshed = self._clock.monotonic()
            while True:
                wait = max(0.0, refreshed + self._settings.refresh_s - self._clock.monotonic())
                with suppress(TimeoutError):
                    await asyncio.wait_for(inbox.news.wait(), wait)
                if self._clock.monotonic() - refreshed >= self._settings.refresh_s:
                    refreshed = self._clock.monotonic()
                    for index, value in enumerate(await client.read_attributes(nodes)):
                        inbox.put(index, value, now=True)
                for readings in inbox.drain():
                    yield readings
        except (failure, OSError, TimeoutError) as error:
            raise TransportError(f"{self._settings.url}: {error or type(error).__name__}") from error
        finally:
            with suppress(Exception):  # whatever it says, this client is not used again
                await asyncio.wait_for(client.disconnect(), TIMEOUT_S)

    async def _subscribe(self, client: Any, nodes: list[Any], inbox: _Inbox) -> None:
        subscription = await client.create_subscription(self._settings.publishing_s * 1e3, inbox)
        different = list({node.nodeid: node for node in nodes}.values())
        sampling = self._settings.sampling_s * 1e3
        await subscription.subscribe_data_change(different, queuesize=QUEUE, sampling_interval=sampling)


async def make_client(settings: conf.OpcuaSource) -> tuple[Any, type[Exception]]:
    """A client of asyncua that only reads, not connected yet, and the root of its errors.

    Raises:
        FaultError: the library is not there, or a file that the settings name.
    """
    try:
        from asyncua import Client, ua
    except ImportError as error:
        raise FaultError("OPC UA needs asyncua", hint="pip install 'hinterland[edge-opcua]'") from error
    client = Client(settings.url, timeout=TIMEOUT_S)
    client.uaclient.observer = OnlyReads()
    client.session_timeout = SESSION_S * 1000
    password = await asyncio.to_thread(_secret, settings.password_file)
    try:
        if settings.security:
            await client.set_security_string(settings.security)
        if settings.username:
            client.set_user(settings.username)
        if password:
            client.set_password(password)
    except (OSError, ua.UaError, AttributeError, ValueError) as error:
        raise FaultError(f"the security of {settings.url}: {error}") from error
    return client, ua.UaError


def _secret(file: str) -> str:
    try:
        return Path(file).read_text().strip() if file else ""
    except OSError as error:
        raise FaultError(f"no password in {file}: {error.strerror}") from error
