"""Releases, and the import of models that were trained elsewhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from cloud.api.uploads import keep_upload
from cloud.api.views.releases import release_view
from cloud.loop.imports import describe, import_release
from cloud.store.releases import Releases
from shared.api import ReleaseRequest
from shared.ids import check_digest

router = APIRouter(tags=["releases"])


@router.put("/blobs/{digest}", status_code=204)
async def put_blob(parts: Parts, _by: Operator, digest: str, request: Request) -> Response:
    """Send the bytes of a file before a release names them; the same digest again is free."""
    wanted = check_digest(digest)
    if not await run_in_threadpool(parts.blobs.has, wanted):
        await keep_upload(parts.blobs, wanted, request.stream())
    return Response(status_code=204)


@router.post("/releases")
def import_model(
    parts: Parts, by: Operator, request: Annotated[ReleaseRequest, Depends(body(ReleaseRequest))]
) -> Response:
    """Make a release of uploaded files; the coordinator signs and publishes it in its next turn."""
    variants = describe(parts.blobs, request)
    with parts.database.write() as connection:
        row = import_release(connection, request, variants, at=parts.clock.now(), by=by.actor)
        view = release_view(row)
    parts.wake()
    return reply(view, status=201)


@router.get("/releases")
def releases(parts: Parts, _by: Operator, model: str | None = None) -> Response:
    """Every release, oldest first."""
    with parts.database.read() as connection:
        return reply([release_view(row) for row in Releases(connection).all(model=model)])


@router.get("/releases/{release}")
def one_release(parts: Parts, _by: Operator, release: str) -> Response:
    """One release."""
    with parts.database.read() as connection:
        return reply(release_view(Releases(connection).get(release)))
