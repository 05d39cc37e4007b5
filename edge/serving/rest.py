"""The Open Inference Protocol v2 over HTTP: which path asks for what."""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from concurrent.futures import Future
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge.serving.answers import Answered, write_answer
from edge.serving.describe import describe
from edge.serving.desk import Desk, LateError, UnknownModelError
from edge.serving.gate import FullError, Gate
from edge.serving.http import HttpError, Request, Response, content_length, json_response
from edge.serving.requests import Asked, read_request
from edge.serving.tokens import Tokens, bearer
from shared.errors import ContractError, FaultError

log = logging.getLogger(__name__)

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository(index)"]

JSON_LENGTH = "inference-header-content-length"

_MODEL = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<what>/ready|/infer)?")


class Rest:
    """Answers requests; lives in the loop of the thread that callers are let into."""

    def __init__(self, desk: Desk, *, loop: asyncio.AbstractEventLoop, gate: Gate, tokens: Tokens | None) -> None:
        """Take the loop that the desk belongs to, and who may ask; None for everybody (on loopback only)."""
        self._desk = desk
        self._loop = loop
        self._gate = gate
        self._tokens = tokens

    async def handle(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            HttpError: it gets no more than a status and a sentence.
        """
        if "origin" in request.headers:
            raise HttpError(403, "pages of web browsers may not ask this device's models")
        if request.path in ("/v2/health/live", "/v2/health/ready"):
            ready = request.path.endswith("live") or self._desk.ready
            return Response(status=200 if ready else 503)
        who = self._prove(request)
        try:
            return await self._answer(request, who)
        except UnknownModelError as error:
            raise HttpError(404, str(error)) from error
        except ContractError as error:
            raise HttpError(400, str(error)) from error
        except FullError as error:
            raise HttpError(429 if error.own else 503, f"{error}; come again", headers={"Retry-After": "1"}) from error
        except LateError as error:
            raise HttpError(503, str(error), headers={"Retry-After": "1"}) from error
        except FaultError as error:
            raise HttpError(500, str(error)) from error
        except HttpError:
            raise
        except Exception as error:
            log.exception("a request was not answered")
            raise HttpError(500, "this device failed; its log says how") from error

    async def _answer(self, request: Request, who: str) -> Response:
        if request.path in ("/v2", "/v2/"):
            self._wants(request, "GET")
            return json_response(server_metadata())
        if request.path == "/v2/repository/index":
            self._wants(request, "POST")
            return json_response(self._index())
        found = _MODEL.fullmatch(request.path)
        if found is None:
            raise HttpError(404, f"there is nothing at {request.path[:200]}")
        model, wanted, what = found["model"], found["version"] or "", found["what"]
        if what == "/infer":
            self._wants(request, "POST")
            with self._gate.seat(who):
                return await self._infer(request, model, wanted)
        self._wants(request, "GET")
        served = self._desk.serving(model, wanted)
        return Response() if what else json_response(describe(model, served))

    async def _infer(self, request: Request, model: str, wanted: str) -> Response:
        self._desk.serving(model, wanted)  # who asks for nothing that is here need not send it
        body = await _plain(request)
        asked = read_request(body, json_length=content_length(request.headers, JSON_LENGTH))
        answered = await self._at_the_desk(model, asked, wanted)
        content, length = write_answer(answered)
        if length is None:
            return Response(content=content, headers={"Content-Type": "application/json"})
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(length)}
        return Response(content=content, headers=headers)

    async def _at_the_desk(self, model: str, asked: Asked, wanted: str) -> Answered:
        work: Future[Answered] = asyncio.run_coroutine_threadsafe(
            self._desk.infer(model, asked, version=wanted), self._loop
        )
        return await asyncio.wrap_future(work)

    def _index(self) -> list[dict[str, Any]]:
        found = []
        for model in self._desk.models:
            described = describe(model, self._desk.serving(model))
            found.append({"name": model, "version": described["versions"][0], "state": "READY", "reason": ""})
        return found

    def _prove(self, request: Request) -> str:
        """Who asks; empty where nobody has to say."""
        if self._tokens is None:
            return ""
        try:
            who = self._tokens.who(bearer(request.headers))
        except FaultError as error:
            raise HttpError(503, "this device cannot read its tokens") from error
        if who is None:
            raise HttpError(
                401,
                "show a token: Authorization: Bearer …; the device's owner makes one with `hinterland-agent token`",
                headers={"WWW-Authenticate": 'Bearer realm="hinterland"'},
            )
        return who

    def _wants(self, request: Request, method: str) -> None:
        if request.method != method:
            raise HttpError(405, f"{request.path[:200]} is asked with {method}", headers={"Allow": method})


def server_metadata() -> dict[str, Any]:
    """What answers here."""
    try:
        number = version("hinterland")
    except PackageNotFoundError:
        number = "0"
    return {"name": "hinterland", "version": number, "extensions": EXTENSIONS}


async def _plain(request: Request) -> bytes:
    """The body, unpacked where it is packed; never to more than a body may have."""
    body = await request.body()
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding == "identity":
        return body
    if coding not in ("gzip", "deflate"):
        raise HttpError(415, f"bodies are gzip, deflate or plain, not {coding[:40]!r}")
    return unpack(body, most=request.most)


def unpack(body: bytes, *, most: int) -> bytes:
    """A body that was packed with gzip or zlib.

    Raises:
        HttpError: it was not, or is larger than `most` bytes.
    """
    unpacker = zlib.decompressobj(wbits=47)  # either head
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise HttpError(400, f"the body cannot be unpacked: {error}") from error
    if len(plain) > most:
        raise HttpError(413, f"a request has at most {most} bytes, unpacked too")
    if not unpacker.eof or unpacker.unused_data:
        raise HttpError(400, "the packed body does not end where it should")
    return plain
