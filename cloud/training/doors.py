"""The doors of the SuperLink: devices reach the calls a device needs, everything else asks for our token.

Flower's SuperLink asks no credential of whoever starts a run or takes a task: reaching its port is enough to run
code on its host. These doors stand in front of the whole application, so that a route which a later version adds
is closed until somebody opens it here.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

DEVICE_CALLS = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
        "get-run",
    )
)
"""Calls that carry a node's own signature. Not among them: registering and removing nodes, which is part of
enrolment, and fetching the app bundle, because no foreign code goes to a device."""

HEALTH = "/health"

MAX_DEVICE_BODY = 64 << 20
"""Bytes of one call by a device. Flower cuts arrays into chunks of at most 20 MB."""


class Doors:
    """An ASGI application that lets calls through to `inner`, or answers them itself."""

    def __init__(self, inner: Application, *, token: str) -> None:
        """Guard `inner`; `token` opens everything.

        Raises:
            ValueError: the token is too short to be a secret.
        """
        if len(token) < 32:
            raise ValueError("a control token has at least 32 characters")
        self._inner = inner
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._has_token(scope["headers"]):
            await self._inner(_without_token(scope), receive, send)
        elif not _is_open(scope):
            await _refuse(send, 401, "this door is for the coordinator")
        elif _body_length(scope["headers"]) > MAX_DEVICE_BODY:
            await _refuse(send, 413, f"a call holds at most {MAX_DEVICE_BODY} bytes and states its length")
        else:
            await self._inner(scope, receive, send)

    def _has_token(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = [value for name, value in headers if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def _is_open(scope: Scope) -> bool:
    # The path is compared as the server decoded it, without normalising: what is not listed letter by letter is shut.
    device_call = scope["method"] == "POST" and scope["path"] in DEVICE_CALLS
    return device_call or (scope["method"] in ("GET", "HEAD") and scope["path"] == HEALTH)


def _body_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The stated length; a body of unknown length counts as too long."""
    names = dict(headers)
    if b"transfer-encoding" in names:
        return MAX_DEVICE_BODY + 1
    length = names.get(b"content-length", b"0")
    return int(length) if length.isdigit() else MAX_DEVICE_BODY + 1


def _without_token(scope: Scope) -> Scope:
    """Flower never sees the secret: not in its logs, not in its account plug-ins."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"authorization"]}


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
