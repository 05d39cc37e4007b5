"""How devices get in: the authority's certificate, tokens, enrolment and renewal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from cloud.api.bodies import body, reply
from cloud.api.services import Operator, Parts
from shared.api import TokenRequest
from shared.enrolment import EnrolRequest, RenewRequest, RescueRequest

router = APIRouter(tags=["enrolment"])


@router.get("/ca")
def authority(parts: Parts) -> Response:
    """The authority's certificate, PEM. Open to all: a device holds it against its token's fingerprint."""
    return Response(parts.desk.certificate, media_type="application/x-pem-file")


@router.post("/enrol")
def enrol(parts: Parts, request: Annotated[EnrolRequest, Depends(body(EnrolRequest))]) -> Response:
    """Trade a token for an identity. The token is the credential."""
    return reply(parts.desk.enrol(request))


@router.post("/renew")
def renew(parts: Parts, request: Annotated[RenewRequest, Depends(body(RenewRequest))]) -> Response:
    """Trade a certificate and a proof of its key for a fresh one."""
    return reply(parts.desk.renew(request))


@router.post("/rescue")
def rescue(parts: Parts, request: Annotated[RescueRequest, Depends(body(RescueRequest))]) -> Response:
    """Trade an expired certificate and a proof of its key for a fresh one, within the time of grace."""
    return reply(parts.desk.rescue(request))


@router.post("/tokens")
def create_token(parts: Parts, by: Operator, request: Annotated[TokenRequest, Depends(body(TokenRequest))]) -> Response:
    """Make a token; it is shown once."""
    return reply(parts.desk.issue(request, by=by), status=201)
