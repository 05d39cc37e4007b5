"""How devices get in: the authority's certificate, tokens, enrolment and renewal."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Response

from cloud.access.principal import Action, Principal
from cloud.api.bodies import Answer, Routes, body, reply
from cloud.api.services import Parts, Reason, Stranger, allow
from shared.api import TokenIssued, TokenRequest
from shared.enrolment import EnrolAnswer, EnrolRequest, RenewAnswer, RenewRequest, RescueRequest

router = Routes(tags=["enrolment"])


@router.get("/ca", dependencies=[Stranger])
def authority(parts: Parts) -> Response:
    """The authority's certificate, PEM. Open to all: a device holds it against its token's fingerprint."""
    return Response(parts.desk.certificate, media_type="application/x-pem-file")


@router.post("/enrol", dependencies=[Stranger])
def enrol(parts: Parts, request: Annotated[EnrolRequest, Depends(body(EnrolRequest))]) -> Answer[EnrolAnswer]:
    """Trade a token for an identity. The token is the credential."""
    return reply(parts.desk.enrol(request))


@router.post("/renew", dependencies=[Stranger])
def renew(parts: Parts, request: Annotated[RenewRequest, Depends(body(RenewRequest))]) -> Answer[RenewAnswer]:
    """Trade a certificate and a proof of its key for a fresh one."""
    return reply(parts.desk.renew(request))


@router.post("/rescue", dependencies=[Stranger])
def rescue(parts: Parts, request: Annotated[RescueRequest, Depends(body(RescueRequest))]) -> Answer[RenewAnswer]:
    """Trade an expired certificate and a proof of its key for a fresh one, within the time of grace."""
    return reply(parts.desk.rescue(request))


@router.post("/tokens", status_code=201)
def create_token(
    parts: Parts,
    by: Annotated[Principal, allow(Action.ENROL)],
    reason: Reason,
    request: Annotated[TokenRequest, Depends(body(TokenRequest))],
) -> Answer[TokenIssued]:
    """Make a token; it is shown once."""
    parts.gate.require(by, Action.ENROL, fleet=request.fleet or parts.fleet)
    wanted = msgspec.structs.replace(request, reason=request.reason or reason)
    return reply(parts.desk.issue(wanted, by=by), status=201)
