import asyncio

import pytest

from cloud.training.doors import DEVICE_CALLS, MAX_DEVICE_BODY, Doors

TOKEN = "0123456789abcdef0123456789abcdef"


async def inner(scope, receive, send):
    send.headers = scope.get("headers", [])
    await send({"type": "http.response.start", "status": 200, "headers": []})


class Sent:
    def __init__(self):
        self.messages = []
        self.headers = None

    async def __call__(self, message):
        self.messages.append(message)


def call(path, *, method="POST", headers=(), kind="http"):
    sent = Sent()
    scope = {"type": kind, "method": method, "path": path, "headers": list(headers)}
    asyncio.run(Doors(inner, token=TOKEN)(scope, None, sent))
    return sent


def status(path, **options):
    return call(path, **options).messages[0]["status"]


def bearer(token):
    return [(b"authorization", f"Bearer {token}".encode())]


@pytest.mark.parametrize("path", sorted(DEVICE_CALLS))
def test_device_calls_are_open(path):
    assert status(path) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/v1/runtime/pull-task-input",
        "/v1/runtime/get-nodes",
        "/v1/runtime/responses",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/get-fab",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/../control/start-run",
        "//v1/control/start-run",
        "/V1/fleet/pull-messages",
        "/v1/fleet/",
        "/docs",
        "/openapi.json",
        "/",
        "/tomorrow",
    ],
)
def test_all_else_is_shut_without_the_token_and_open_with_it(path):
    assert status(path) == 401
    assert status(path, headers=bearer("x" * 32)) == 401
    assert status(path, headers=bearer(TOKEN)) == 200


def test_a_token_must_be_the_only_one_and_whole():
    path = "/v1/control/start-run"
    assert status(path, headers=bearer(TOKEN) * 2) == 401
    assert status(path, headers=bearer(TOKEN[:-1])) == 401
    assert status(path, headers=[(b"authorization", TOKEN.encode())]) == 401


def test_a_device_call_is_a_post():
    assert status("/v1/fleet/pull-messages", method="GET") == 401
    assert status("/health", method="GET") == 200
    assert status("/health") == 401


def test_flower_never_sees_the_secret():
    assert call("/v1/control/start-run", headers=[*bearer(TOKEN), (b"host", b"x")]).headers == [(b"host", b"x")]


@pytest.mark.parametrize(
    "header",
    [
        (b"content-length", str(MAX_DEVICE_BODY + 1).encode()),
        (b"content-length", b"-1"),
        (b"transfer-encoding", b"chunked"),
    ],
)
def test_a_device_call_states_a_bounded_length(header):
    assert status("/v1/fleet/push-object", headers=[header]) == 413


def test_websockets_are_closed():
    assert call("/v1/fleet/pull-messages", kind="websocket").messages == [{"type": "websocket.close", "code": 1008}]


def test_a_short_token_is_no_secret():
    with pytest.raises(ValueError, match="32"):
        Doors(inner, token="short")
