"""Topics of the site's own broker. Nothing is ever published to it."""

from __future__ import annotations

import re
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edge.pipelines.sources.sensors.port import Readings
from edge.settings import sensors as conf
from shared.clock import Clock
from shared.errors import FaultError, RefusedError, TransportError

LARGEST = 1 << 20
"""Bytes of a message that is looked at."""

WAITING = 10_000
"""Messages that may wait to be read; aiomqtt drops what comes on top."""

TOGETHER_S = 0.02
"""Messages of this time are handed on together: one by one they would cost more than their windows."""

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

Path_ = tuple[str | int, ...]


def parse_path(text: str) -> Path_:
    """`imu.acc[0]` as the steps into a JSON document.

    Raises:
        RefusedError: it is no such way.
    """
    steps = tuple(name or int(index) for name, index in _STEP.findall(text))
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
    if shown != text:
        raise RefusedError(f"{text[:80]!r} is no way into a document", hint="Write it as imu.acc[0].")
    return steps


def follow(document: Any, path: Path_) -> Any:
    """What stands there; None where nothing does."""
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and step < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


class _Topic(NamedTuple):
    """What is read from the messages of one topic."""

    channels: tuple[int, ...]
    paths: tuple[Path_, ...]


class _Message(NamedTuple):
    """Samples of one message."""

    times: list[float]
    rows: list[list[float]]


class TopicFeed:
    """Subscribes to the topics of its channels."""

    patient = False

    def __init__(self, settings: conf.MqttSource, *, stream: str, clock: Clock, random: Random) -> None:
        """`stream` and a random part make the client's name.

        Raises:
            RefusedError: a path is none.
        """
        self._settings = settings
        self._clock = clock
        self._name = f"hinterland-{stream}-{random.getrandbits(32):08x}"
        self._time = parse_path(settings.time)
        grouped: defaultdict[str, list[tuple[int, Path_]]] = defaultdict(list)
        for index, each in enumerate(settings.channels):
            grouped[each.topic].append((index, parse_path(each.path)))
        self._topics = {
            topic: _Topic(tuple(index for index, _ in each), tuple(path for _, path in each))
            for topic, each in grouped.items()
        }

    async def session(self) -> AsyncGenerator[Readings, None]:
        import aiomqtt

        try:
            async with self._client() as client:
                for topic in self._topics:
                    await client.subscribe(topic, qos=0)
                waiting: defaultdict[str, list[_Message]] = defaultdict(list)
                told = self._clock.monotonic()
                async for message in client.messages:
                    topic = str(message.topic)
                    if topic in self._topics and isinstance(message.payload, bytes) and not message.retain:
                        waiting[topic].append(self.read(topic, message.payload))
                    if not len(client.messages) or self._clock.monotonic() - told >= TOGETHER_S:
                        for each in self._together(waiting):
                            yield each
                        waiting.clear()
                        told = self._clock.monotonic()
        except (aiomqtt.MqttError, OSError) as error:
            where = f"{self._settings.host}:{self._port}"
            raise TransportError(f"the site's broker {where} is not to be had: {error}") from error

    def read(self, topic: str, payload: bytes) -> _Message:
        """The samples in a message; NaN for what is not there, or is no number."""
        document: Any = None
        if len(payload) <= LARGEST:
            try:
                document = msgspec.json.decode(payload)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                document = None
        now = self._clock.now()
        stamp = _number(follow(document, self._time)) * self._settings.time_scale if self._time else now
        given = [follow(document, path) for path in self._topics[topic].paths]
        many = max((len(each) for each in given if isinstance(each, list)), default=0)
        if not many or self._settings.every_s is None:
            return _Message([stamp], [[_number(each) for each in given]])
        columns = [
            [_number(value) for value in each] if isinstance(each, list) and len(each) == many else [np.nan] * many
            for each in given
        ]
        step = self._settings.every_s
        times = [stamp - (many - 1 - index) * step for index in range(many)]
        return _Message(times, [list(row) for row in zip(*columns, strict=True)])

    def _together(self, waiting: dict[str, list[_Message]]) -> Iterator[Readings]:
        for topic, messages in waiting.items():
            times = np.array([at for each in messages for at in each.times])
            yield Readings(
                times, np.array([row for each in messages for row in each.rows]), self._topics[topic].channels
            )

    @property
    def _port(self) -> int:
        return self._settings.port or (8883 if self._settings.ca else 1883)

    def _client(self) -> Any:
        import aiomqtt

        settings = self._settings
        try:
            password = Path(settings.password_file).read_text().strip() if settings.password_file else None
            context = ssl.create_default_context(cafile=settings.ca) if settings.ca else None
        except (OSError, ssl.SSLError) as error:
            raise FaultError(f"the way to the site's broker: {error}") from error
        return aiomqtt.Client(
            hostname=settings.host,
            port=self._port,
            username=settings.username or None,
            password=password,
            identifier=self._name,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=context,
            max_queued_incoming_messages=WAITING,
            keepalive=15,
        )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else np.nan
