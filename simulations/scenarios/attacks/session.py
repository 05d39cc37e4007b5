"""A raw MQTT session: what an attacker speaks, without the back-pressure and the healing of `shared.bus`."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.errors import RefusedError, TransportError
from simulations.world.ports import LOOPBACK

PATIENCE_S = 180.0
"""How long what must come is waited for. Nothing that passes waits so long; a slow machine may need most of it."""

POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What a session shows; without a certificate it comes as nobody."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """As a device makes it."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate is not None:
            context.load_cert_chain(str(self.certificate), str(self.key))
        return context


@dataclass(frozen=True, slots=True)
class Heard:
    """One message as it came."""

    topic: str
    payload: bytes
    at: float


class Session:
    """One connection; everything it hears is kept."""

    def __init__(self, port: int, papers: Papers, *, name: str = "", buffer: int | None = None) -> None:
        """Dial the broker at `port`; `buffer` is the most bytes the broker may send at once (MQTT 5)."""
        self.heard: list[Heard] = []
        self.retained: dict[str, bytes] = {}
        """Topic → what is retained or was published last."""

        self.lost = threading.Event()
        self._answers: dict[int, str] = {}
        self._welcome: list[str] = []
        self._port, self._papers, self._buffer = port, papers, buffer
        self._on_message: Callable[[Heard], None] | None = None
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self._client.tls_set_context(papers.context())
        self._client.on_connect = lambda _c, _u, _f, reason, _p: self._welcome.append(str(reason))
        self._client.on_disconnect = lambda *_: self.lost.set()
        self._client.on_message = self._message
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._answers.__setitem__(mid, str(reason))
        self._client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._answers.__setitem__(
            mid, ", ".join(map(str, reasons))
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def react(self, to: Callable[[Heard], None]) -> None:
        """Call `to` with every message, in the session's own thread."""
        self._on_message = to

    def open(self) -> None:
        """Connect.

        Raises:
            RefusedError: the broker does not let this session in; in its words.
        """
        properties = None
        if self._buffer is not None:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's has no hints
            properties.ReceiveMaximum = self._buffer
        try:
            self._client.connect(LOOPBACK, self._port, keepalive=60, clean_start=True, properties=properties)
        except OSError as error:
            raise RefusedError(f"the broker: {error}") from error
        self._client.loop_start()
        wait(lambda: bool(self._welcome) or self.lost.is_set(), what="an answer of the broker")
        if self._welcome[-1:] != ["Success"]:
            self.close()
            raise RefusedError(f"the broker: {self._welcome[-1] if self._welcome else self._alert()}")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Publish with QoS 1; return the broker's answer, or `connection lost`."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        return self._answer(mid)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1 and do not wait; may be called from `react`."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def subscribe(self, topic_filter: str) -> str:
        """Subscribe; return what the broker grants, which proves nothing."""
        _, mid = self._client.subscribe(topic_filter, qos=1)
        return self._answer(mid or 0)

    def on(self, topic: str, *, after: int = 0) -> list[Heard]:
        """What came on one topic since the first `after` messages."""
        return [message for message in self.heard[after:] if message.topic == topic]

    def pause(self) -> None:
        """Stop reading, and keep the connection."""
        self._client.loop_stop()

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()

    def _alert(self) -> str:
        """The TLS alert with which the broker hangs up; with TLS 1.3 it comes after the handshake."""
        with socket.create_connection((LOOPBACK, self._port), timeout=PATIENCE_S) as plain:
            try:
                with self._papers.context().wrap_socket(plain, server_hostname=LOOPBACK) as tls:
                    return "hung up" if not tls.recv(1) else "an answer"
            except OSError as error:
                return str(error)

    def _answer(self, mid: int) -> str:
        wait(lambda: mid in self._answers or self.lost.is_set(), what="the broker's answer")
        return self._answers.get(mid, "connection lost")

    def _message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        heard = Heard(message.topic, bytes(message.payload), time.time())
        self.heard.append(heard)
        if heard.payload:
            self.retained[heard.topic] = heard.payload
        else:
            self.retained.pop(heard.topic, None)
        if self._on_message is not None:
            self._on_message(heard)


def wait(done: Callable[[], bool], *, what: str, within_s: float = PATIENCE_S) -> float:
    """Wait until `done()`; return the seconds it took.

    Raises:
        TransportError: it did not happen, so whatever rests on it was not carried out.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > within_s:
            raise TransportError(f"{what} did not come within {within_s:.0f} s")
        time.sleep(POLL_S)
    return time.monotonic() - began


def came(done: Callable[[], bool], *, within_s: float = PATIENCE_S) -> bool:
    """Whether `done()` became true in time."""
    try:
        wait(done, what="it", within_s=within_s)
    except TransportError:
        return False
    return True
