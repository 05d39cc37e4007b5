"""People who say yes or no to a release before it is signed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Services, allow
from cloud.api.views.releases import release_view
from shared.access import Verdict
from shared.api import Release

router = Routes(prefix="/releases/{release}", tags=["releases"])

Approver = Annotated[Principal, allow(Action.APPROVE_RELEASE)]
Said = Annotated[Verdict, Depends(body(Verdict))]


@router.post("/approve")
def approve(parts: Parts, by: Approver, release: str, reason: Reason, said: Said) -> Answer[Release]:
    """Say yes to the manifest that was looked at."""
    return _vote(parts, by, release, said, reason=said.reason or reason, approved=True)


@router.post("/reject")
def reject(parts: Parts, by: Approver, release: str, reason: Reason, said: Said) -> Answer[Release]:
    """Say no; one no keeps the release from being signed until whoever said it says otherwise."""
    return _vote(parts, by, release, said, reason=said.reason or reason, approved=False)


def _vote(
    parts: Services, by: Principal, release: str, said: Verdict, *, reason: str, approved: bool
) -> Answer[Release]:
    parts.gate.require(by, Action.APPROVE_RELEASE)
    with parts.database.write() as connection:
        row = parts.approvers.vote(connection, release, by=by, digest=said.digest, approved=approved, reason=reason)
        view = release_view(row, decided=parts.approvers.decided(connection, row))
    parts.wake()
    return reply(view)
