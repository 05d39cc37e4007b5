"""Models that were trained elsewhere, on their way into the same release path as our own."""

from __future__ import annotations

import re
from mmap import ACCESS_READ, mmap
from typing import cast

from msgspec.structs import replace
from sqlalchemy import Connection

from cloud.distribution.cut import cut
from cloud.loop.orders import order_release
from cloud.store.blobs import FileBlobs
from cloud.store.releases import ReleaseRow, Releases
from shared.api import ImportedFile, ReleaseRequest
from shared.bundle import UNEXECUTED, Chunk, Needs, Release, Runtime, Variant, decode_release, encode
from shared.engine import read_engine
from shared.errors import RefusedError, TrustError
from shared.ids import Digest, check_digest, check_name, release_id
from shared.modelformat import Format, check_file

MAX_MEMORY_MIB = 1 << 20
"""A file that asks for more than a TiB is a slip, and no device would ever fetch it."""

VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,7}", re.ASCII)
"""Numbers only: of what devices can compare, the part that says the same to everybody."""


def describe(blobs: FileBlobs, request: ReleaseRequest) -> list[Variant]:
    """The variants of an import, with the chunk list of each uploaded file; reads every file once.

    Raises:
        RefusedError: no files, two of one name, one that was not uploaded, is no model or asks for what cannot be.
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
    if kind is not Format.ONNX and file.runtime in (Runtime.ONNXRUNTIME, Runtime.OPENVINO):
        raise RefusedError(
            f"{file.name} holds weights alone, and {file.runtime} runs graphs", hint="Export the model as ONNX."
        )
    return chunks


def _needs(file: ImportedFile) -> Needs:
    if not 0 <= file.memory_mib <= MAX_MEMORY_MIB:
        raise RefusedError(
            f"{file.name} asks for {file.memory_mib} MiB of memory",
            hint=f"Say how many MiB must be free on a device: 0 for any, {MAX_MEMORY_MIB} at most.",
        )
    if file.runtime_version and not VERSION.fullmatch(file.runtime_version):
        raise RefusedError(
            f"{file.name} asks for version {file.runtime_version[:40]!r} of {file.runtime}, which is none",
            hint="Give the oldest version as numbers, as in 1.22 or 1.22.1; leave it out for any.",
        )
    return Needs(memory_mib=file.memory_mib, runtime_version=file.runtime_version)


def _label(blobs: FileBlobs, digest: Digest, file: ImportedFile) -> str:
    """What nobody has run says so, and carries the proof that the first device runs."""
    engine = file.runtime in (Runtime.TENSORRT, Runtime.TENSORRT_RTX)
    if file.label not in ("", UNEXECUTED):
        raise RefusedError(f"{file.label[:40]!r} is no label", hint=f"Say {UNEXECUTED}, or leave it out.")
    if not engine and not file.label:
        return ""
    try:
        notes = read_engine(blobs.path(digest).read_bytes()).notes
    except TrustError as error:
        raise RefusedError(
            f"{file.name} is no engine with its proof: {error}", hint="Make it with `hinterland-coordinator engines`."
        ) from error
    if (notes.runtime, f"sm{notes.sm}") != (file.runtime, *file.hardware):
        raise RefusedError(
            f"{file.name} was built for {notes.runtime} on sm{notes.sm}", hint="Give runtime and hardware as built."
        )
    return file.label


def _variant(blobs: FileBlobs, file: ImportedFile) -> Variant:
    digest = check_digest(file.digest)
    if not blobs.has(digest):
        raise RefusedError(
            f"the bytes of {file.name} are not here", hint=f"Send them first: PUT /v1/blobs/{digest[:12]}…"
        )
    needs, chunks = _needs(file), _check(blobs, digest, file)
    variant = Variant(
        name=file.name,
        runtime=file.runtime,
        precision=file.precision,
        hardware=file.hardware,
        digest=digest,
        size=blobs.size(digest),
        chunks=chunks,
        label=_label(blobs, digest, file),
    )
    # what asks for nothing says nothing: agents that know no needs then read the manifest to the letter
    return variant if needs == Needs() else replace(variant, needs=needs)
