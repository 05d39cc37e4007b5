"""JSON in and out: bodies are the structs of `shared`, decoded strictly and within a limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from fastapi import Request, Response

from shared.errors import ContractError

MAX_BODY = 1 << 20
"""Bytes of a JSON body; files go to the blob route."""

T = TypeVar("T")


def body(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """A dependency that reads the request's body as `kind`.

    Raises:
        ContractError: too long, or not of that kind.
    """

    async def read(request: Request) -> T:
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > MAX_BODY:
                raise ContractError(f"the body is over the limit of {MAX_BODY} bytes")
        try:
            return msgspec.json.decode(bytes(data), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ContractError(f"the body is no {kind.__name__}: {error}") from error

    return read


def reply(document: msgspec.Struct | Sequence[msgspec.Struct], *, status: int = 200) -> Response:
    """`document` as a JSON answer."""
    return Response(msgspec.json.encode(document), status_code=status, media_type="application/json")
