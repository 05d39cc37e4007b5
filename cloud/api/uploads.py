"""Large bodies on their way to the blob store, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import IO

from starlette.concurrency import run_in_threadpool

from cloud.store.blobs import FileBlobs
from shared.bundle import MAX_VARIANT
from shared.errors import ContractError
from shared.ids import Digest

PIECE = 1 << 20
"""Bytes moved at a time."""


async def keep_upload(blobs: FileBlobs, digest: Digest, stream: AsyncIterator[bytes]) -> None:
    """Store a request's body under `digest`.

    Raises:
        ContractError: the body is too long, or has another digest.
        FaultError: the disk did not take it.
    """
    with tempfile.TemporaryFile() as file:
        size = 0
        async for piece in stream:
            size += len(piece)
            if size > MAX_VARIANT:
                raise ContractError(f"the file is over the limit of {MAX_VARIANT} bytes")
            await run_in_threadpool(file.write, piece)
        file.seek(0)
        await run_in_threadpool(blobs.put_stream, _pieces(file), expected=digest)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
