"""JSON in and out: bodies are the structs of `shared`, decoded strictly and within a limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import msgspec
from fastapi import APIRouter, Request, Response

from shared.errors import ContractError

MAX_BODY = 1 << 20
"""Bytes of a JSON body; files go to the blob route."""

T = TypeVar("T")


class Answer(Response, Generic[T]):
    """A JSON answer of a known kind, which the description of the API repeats."""


class Routes(APIRouter):
    """A router whose handlers' return types are what the API says of its answers."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Register a handler that returns an `Answer` or a plain response."""
        kind = get_args(get_type_hints(endpoint).get("return"))
        if kind:
            ANSWERS[endpoint] = kind[0]
        options["response_model"] = None
        super().add_api_route(path, endpoint, **options)


ANSWERS: dict[Callable[..., Any], Any] = {}
"""Handler → kind of its answer."""

BODIES: dict[Callable[..., Any], Any] = {}
"""Dependency that reads a body → its kind."""


def body(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """A dependency that reads the request's body as `kind`.

    Raises:
        ContractError: too long, or not of that kind.
    """

    async def read(request: Request) -> T:
        data = await bounded(request)
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ContractError(f"the body is no {getattr(kind, '__name__', 'document')}: {error}") from error

    BODIES[read] = kind
    return read


async def bounded(request: Request) -> bytes:
    """The body of a request.

    Raises:
        ContractError: too long.
    """
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise ContractError(f"the body is over the limit of {MAX_BODY} bytes")
    return bytes(data)


def reply(document: T, *, status: int = 200) -> Answer[T]:
    """`document` as a JSON answer."""
    return Answer(msgspec.json.encode(document), status_code=status, media_type="application/json")
