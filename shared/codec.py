"""Messages to bytes and back, with a bound on what is believed."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from shared.errors import ContractError

MAX_MESSAGE = 1 << 20
"""Bytes. Batches are cut far below; anything larger is a mistake or an attack."""

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def pack(message: msgspec.Struct) -> bytes:
    """Encode a struct of `shared.messages` as MessagePack."""
    return _encoder.encode(message)


def unpack(data: bytes, kind: type[T]) -> T:
    """Decode bytes from outside into `kind`.

    Raises:
        ContractError: too large, not MessagePack, or not of that kind.
    """
    if len(data) > MAX_MESSAGE:
        raise ContractError(f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE}")
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no {kind.__name__}: {error}") from error
