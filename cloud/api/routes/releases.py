"""Releases, and the import of models that were trained elsewhere."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Services, SharedViewer, allow
from cloud.api.uploads import keep_upload
from cloud.api.views.releases import attested_view, release_view
from cloud.audit.log import AuditLog
from cloud.loop.imports import describe, import_release
from cloud.store.attestations import Attestations
from cloud.store.releases import Releases
from shared.api import Release, ReleaseRequest
from shared.attested import Attested
from shared.ids import Digest, check_digest

router = Routes(tags=["releases"])

Importer = Annotated[Principal, allow(Action.IMPORT_RELEASE)]


@router.put("/blobs/{digest}", status_code=204)
async def put_blob(parts: Parts, by: Importer, digest: str, request: Request) -> Response:
    """Send the bytes of a file before a release names them; the same digest again is free."""
    await run_in_threadpool(parts.gate.require, by, Action.IMPORT_RELEASE)
    wanted = check_digest(digest)
    if not await run_in_threadpool(parts.blobs.has, wanted):
        await keep_upload(parts.blobs, wanted, request.stream())
        await run_in_threadpool(_note_blob, parts, wanted, by.actor)
    return Response(status_code=204)


@router.post("/releases", status_code=201)
def import_model(
    parts: Parts, by: Importer, reason: Reason, request: Annotated[ReleaseRequest, Depends(body(ReleaseRequest))]
) -> Answer[Release]:
    """Make a release of uploaded files; the coordinator signs and publishes it in its next turn."""
    parts.gate.require(by, Action.IMPORT_RELEASE)
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    variants = describe(parts.blobs, wanted)
    with parts.database.write() as connection:
        row = import_release(connection, wanted, variants, at=parts.clock.now(), by=by.actor)
        view = release_view(row, decided=parts.approvers.decided(connection, row))
    parts.wake()
    return reply(view, status=201)


@router.get("/releases")
def releases(parts: Parts, _by: SharedViewer, model: str | None = None) -> Answer[list[Release]]:
    """Every release, oldest first."""
    with parts.database.read() as connection:
        rows = Releases(connection).all(model=model)
        return reply([release_view(row, decided=parts.approvers.decided(connection, row)) for row in rows])


@router.get("/releases/{release}")
def one_release(parts: Parts, _by: SharedViewer, release: str) -> Answer[Release]:
    """One release."""
    with parts.database.read() as connection:
        row = Releases(connection).get(release)
        held, decided = Attestations(connection).of(row.id), parts.approvers.decided(connection, row)
        return reply(release_view(row, attestations=held, decided=decided))


@router.get("/releases/{release}/attestations")
def attestations(parts: Parts, _by: SharedViewer, release: str) -> Answer[list[Attested]]:
    """What is attested of one release, each envelope as it was signed."""
    with parts.database.read() as connection:
        row = Releases(connection).get(release)
        return reply([attested_view(held) for held in Attestations(connection).of(row.id)])


def _note_blob(parts: Services, digest: Digest, actor: str) -> None:
    """The bytes are harmless until a release names them, but they fill a disk: say who sent them."""
    with parts.database.write() as connection:
        after = {"size": parts.blobs.size(digest)}
        AuditLog(connection).add(at=parts.clock.now(), actor=actor, action="blob.put", subject=digest, after=after)
