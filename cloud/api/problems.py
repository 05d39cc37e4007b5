"""Every error as `application/problem+json`: what happened, and what to do about it."""

from __future__ import annotations

import http
import logging
import math

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cloud.access.principal import ForbiddenError, TooManyError, UnauthenticatedError
from cloud.store.rows import UnknownError
from shared.api import PROBLEM, Problem
from shared.errors import ContractError, FaultError, HinterlandError, RefusedError, TransportError, TrustError

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[HinterlandError], int], ...] = (
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (TooManyError, 429),
    (UnknownError, 404),
    (ContractError, 400),
    (TrustError, 403),
    (RefusedError, 409),
    (TransportError, 503),
    (FaultError, 503),  # nothing was committed: the caller may try again
)


def status_of(error: HinterlandError) -> int:
    """HTTP status that says who must act."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def install(app: FastAPI) -> None:
    """Answer all errors of `app` this way."""
    app.add_exception_handler(HinterlandError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _question)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, HinterlandError)  # noqa: S101  registered for this kind
    status = status_of(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TooManyError):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return _answer(status, str(error), code=error.code, hint=error.hint, headers=headers)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this kind
    return _answer(error.status_code, str(error.detail), code="http", headers=dict(error.headers or {}))


async def _question(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this kind
    flaws = "; ".join(f"{'.'.join(map(str, flaw['loc']))}: {flaw['msg']}" for flaw in error.errors())
    return _answer(400, f"the question is wrong: {flaws}", code="contract")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "the coordinator made a mistake", code="internal", hint="Its log has the details.")


def _answer(status: int, detail: str, *, code: str, hint: str = "", headers: dict[str, str] | None = None) -> Response:
    title = http.HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, code=code, hint=hint, message=detail)
    return Response(msgspec.json.encode(problem), status_code=status, media_type=PROBLEM, headers=headers)
