"""Models that were trained elsewhere, on their way into the same release path as our own."""

from __future__ import annotations

from sqlalchemy import Connection

from cloud.loop.orders import order_release
from cloud.store.blobs import FileBlobs
from cloud.store.releases import ReleaseRow, Releases
from shared.api import ImportedFile, ReleaseRequest
from shared.bundle import CHUNK_SIZE, Chunk, Release, Variant, decode_release, encode
from shared.errors import RefusedError
from shared.ids import check_digest, check_name, release_id, sha256


def describe(blobs: FileBlobs, request: ReleaseRequest) -> list[Variant]:
    """The variants of an import, with the chunk list of each uploaded file; reads every file once.

    Raises:
        RefusedError: no files, two of one name, or one that was not uploaded.
        ContractError: a name or digest is none.
    """
    names = [file.name for file in request.files]
    if not names or len(set(names)) != len(names):
        raise RefusedError("a release needs files, each with a name of its own", hint="Name every file once.")
    return [_variant(blobs, file) for file in request.files]


def import_release(
    connection: Connection, request: ReleaseRequest, variants: list[Variant], *, at: float, by: str
) -> ReleaseRow:
    """Make the next release of a model line from imported files.

    Raises:
        ContractError: the model's name or a file's name is none.
    """
    model = check_name(request.model, kind="model name")
    counter = Releases(connection).next_counter(model)
    release = Release(
        id=release_id(model, counter),
        model=model,
        counter=counter,
        schema=request.schema,
        variants=variants,
        created=at,
        evaluation=request.evaluation,
    )
    decode_release(encode(release))  # what devices would refuse is refused here
    return order_release(connection, release, at=at, by=by, reason=request.reason)


def _variant(blobs: FileBlobs, file: ImportedFile) -> Variant:
    digest = check_digest(file.digest)
    if not blobs.has(digest):
        raise RefusedError(
            f"the bytes of {file.name} are not here", hint=f"Send them first: PUT /v1/blobs/{digest[:12]}…"
        )
    size = blobs.size(digest)
    pieces = (blobs.read(digest, start, CHUNK_SIZE) for start in range(0, size, CHUNK_SIZE))
    return Variant(
        name=file.name,
        runtime=file.runtime,
        precision=file.precision,
        hardware=file.hardware,
        digest=digest,
        size=size,
        chunks=[Chunk(sha256(piece), len(piece)) for piece in pieces],
    )
