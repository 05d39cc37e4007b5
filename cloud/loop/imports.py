"""Models that were trained elsewhere, on their way into the same release path as our own."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from typing import cast

from sqlalchemy import Connection

from cloud.distribution.cut import cut
from cloud.loop.orders import order_release
from cloud.store.blobs import FileBlobs
from cloud.store.releases import ReleaseRow, Releases
from shared.api import ImportedFile, ReleaseRequest
from shared.bundle import Chunk, Release, Runtime, Variant, decode_release, encode
from shared.errors import RefusedError, TrustError
from shared.ids import Digest, check_digest, check_name, release_id
from shared.modelformat import Format, check_file


def describe(blobs: FileBlobs, request: ReleaseRequest) -> list[Variant]:
    """The variants of an import, with the chunk list of each uploaded file; reads every file once.

    Raises:
        RefusedError: no files, two of one name, one that was not uploaded, or one that is no model.
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


def _check(blobs: FileBlobs, digest: Digest, file: ImportedFile) -> list[Chunk]:
    """Refuse what devices would, before anybody signs it (the name is not asked); return how the file is cut."""
    try:
        with blobs.path(digest).open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as data:
            content = cast("bytes", data)  # slices of a mapping are bytes, and nothing else is asked of it
            kind, chunks = check_file(content), cut(content)
    except (TrustError, ValueError) as error:  # an empty file has no mapping
        raise RefusedError(
            f"{file.name} is no model that may be released: {error}",
            hint="Export the model as ONNX with its weights in the one file.",
        ) from error
    if kind is not Format.ONNX and file.runtime is Runtime.ONNXRUNTIME:
        raise RefusedError(
            f"{file.name} holds weights alone, and {file.runtime} runs graphs", hint="Export the model as ONNX."
        )
    return chunks


def _variant(blobs: FileBlobs, file: ImportedFile) -> Variant:
    digest = check_digest(file.digest)
    if not blobs.has(digest):
        raise RefusedError(
            f"the bytes of {file.name} are not here", hint=f"Send them first: PUT /v1/blobs/{digest[:12]}…"
        )
    chunks = _check(blobs, digest, file)
    return Variant(
        name=file.name,
        runtime=file.runtime,
        precision=file.precision,
        hardware=file.hardware,
        digest=digest,
        size=blobs.size(digest),
        chunks=chunks,
    )
