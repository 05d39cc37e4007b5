"""What relays and neighbours say to each other, as bytes; pure.

Every message is a frame: its length (4 bytes, most significant first), then so many bytes.

request   1 byte version, then 1 to 64 SHA-256 digests of 32 bytes
answer    one frame for each digest, in the order asked: 1 byte (0 absent, 1 coming, 2 here), then the chunk if here

A digest names content and nothing else: there is no word in this language for a file, a path or a device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import IntEnum

from shared.errors import ContractError
from shared.ids import Digest, check_digest

VERSION = 1

LENGTH = 4
"""Bytes of a frame's length."""

DIGEST = 32
"""Bytes."""

MOST = 64
"""Digests in a request: at most 16 MiB of answers, between two of which a neighbour can change its mind."""

MAX_REQUEST = 1 + MOST * DIGEST
"""Bytes of a request's frame: a longer one is not read."""


class Has(IntEnum):
    """What a relay says about a chunk."""

    ABSENT = 0
    COMING = 1
    """It is being downloaded: worth a wait."""

    HERE = 2


def encode_request(digests: Sequence[str]) -> bytes:
    """A request for up to `MOST` digests, with its length."""
    body = bytes([VERSION]) + b"".join(bytes.fromhex(digest) for digest in digests)
    return len(body).to_bytes(LENGTH) + body


def decode_request(body: bytes) -> list[Digest]:
    """The digests of a request's frame.

    Raises:
        ContractError: it is none.
    """
    if not body or body[0] != VERSION:
        raise ContractError("no request of this version")
    count, rest = divmod(len(body) - 1, DIGEST)
    if rest or not 1 <= count <= MOST:
        raise ContractError(f"{len(body)} bytes are no request")
    return [check_digest(body[at : at + DIGEST].hex()) for at in range(1, len(body), DIGEST)]


def answer_head(has: Has, size: int = 0) -> bytes:
    """What stands before the `size` bytes of a chunk."""
    return (1 + size).to_bytes(LENGTH) + bytes([has])


def decode_answer(body: bytes) -> tuple[Has, bytes]:
    """What an answer's frame says, and the chunk's bytes, which nobody has proven yet.

    Raises:
        ContractError: it is no answer.
    """
    try:
        has = Has(body[0])
    except (IndexError, ValueError):
        raise ContractError("no answer of a relay") from None
    if has is not Has.HERE and len(body) > 1:
        raise ContractError("bytes of a chunk that is said not to be here")
    return has, body[1:]


def check_length(head: bytes, *, most: int) -> int:
    """The length that a frame's first bytes announce.

    Raises:
        ContractError: it is empty, or longer than `most`: not one byte of it is read.
    """
    length = int.from_bytes(head)
    if not 1 <= length <= most:
        raise ContractError(f"a frame of {length} bytes where at most {most} are due")
    return length


async def read_frame(reader: asyncio.StreamReader, *, most: int) -> bytes:
    """The next frame's content.

    Raises:
        ContractError: it is longer than `most`.
        asyncio.IncompleteReadError: the peer went away.
    """
    head = await reader.readexactly(LENGTH)
    return await reader.readexactly(check_length(head, most=most))
