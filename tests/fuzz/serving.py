"""Parsers of what callers of a device's models send: HTTP, JSON with binary tensors, gRPC's messages, tokens."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ContractError, FaultError
from tests.fuzz.runner import Target

VALUES = np.linspace(-1, 1, 30, dtype="<f4").reshape(1, 3, 10)


def targets(place: Path) -> list[Target]:
    """All of them; `place` is an empty directory."""
    return [*_requests(), *_http(), *_tokens(place)]


def _json(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [1, 3, 10], "datatype": "FP32", "data": VALUES.ravel().tolist()} | changes
    outputs = [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}]
    return json.dumps({"id": "1", "inputs": [tensor], "outputs": outputs, "parameters": {"raw": True}}).encode()


def _requests() -> list[Target]:
    from google.protobuf.message import DecodeError

    from edge.serving.grpc_messages import messages
    from edge.serving.grpc_service import read_message
    from edge.serving.requests import read_request

    def with_length(data: bytes) -> None:
        """The first two bytes are the length that a header tells."""
        read_request(data[2:], json_length=int.from_bytes(data[:2], "little"))

    def message(data: bytes) -> None:
        try:
            request = messages().ModelInferRequest.FromString(data)
        except DecodeError as error:
            raise ContractError("no message") from error
        read_message(request)

    head = json.dumps({
        "inputs": [{"name": "x", "shape": [1, 3, 10], "datatype": "FP32", "parameters": {"binary_data_size": 120}}]
    }).encode()  # fmt: skip
    request = messages().ModelInferRequest(model_name="toy", raw_input_contents=[VALUES.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=VALUES.shape)
    typed = messages().ModelInferRequest(model_name="toy")
    typed.inputs.add(name="x", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([1, -1])
    typed.outputs.add(name="logits").parameters["classification"].int64_param = 1
    jsons = [_json(), _json(data=VALUES.tolist()), _json(datatype="BOOL", shape=[2], data=[True, False])]
    return [
        Target(name="inference-json", parse=read_request, seeds=jsons),
        Target(
            name="inference-binary",
            parse=with_length,
            seeds=[len(head).to_bytes(2, "little") + head + VALUES.tobytes()],
        ),
        Target(name="inference-message", parse=message, seeds=[request.SerializeToString(), typed.SerializeToString()]),
    ]


class _Writer:
    """Takes what is written, as a caller does who reads everything."""

    def __init__(self) -> None:
        self.transport = self
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    async def drain(self) -> None:
        return

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        return


def _http() -> list[Target]:
    from edge.serving.http import Connection, HttpError, Manners, Request, Response
    from edge.serving.rest import JSON_LENGTH, _plain, content_length, unpack

    async def handle(request: Request) -> Response:
        content_length(request.headers, JSON_LENGTH)
        return Response(content=await _plain(request))

    async def converse(data: bytes) -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        manners = Manners(body_bytes=1 << 16)
        await Connection(reader, _Writer(), handle=handle, manners=manners).run()  # type: ignore[arg-type]  # the parts that are used

    def http(data: bytes) -> None:
        asyncio.run(converse(data))

    def packed(data: bytes) -> None:
        try:
            unpack(data, most=1 << 20)
        except HttpError as error:
            raise ContractError(str(error)) from error

    body = _json()
    head = b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    chunked = b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    chunked += b"HEAD /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    return [
        Target(name="inference-http", parse=http, seeds=[head + body, chunked], share=0.2),
        Target(name="inference-packed", parse=packed, seeds=[gzip.compress(body), gzip.compress(b" " * 70_000)]),
    ]


def _tokens(place: Path) -> list[Target]:
    from edge.serving.tokens import Tokens

    path = place / "serving-tokens" / "tokens.json"
    tokens = Tokens(path)
    tokens.create("plc", at=0.0, draw=lambda _: "a" * 43)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            tokens.entries()
        except FaultError as error:
            raise ContractError(str(error)) from error

    return [Target(name="serving-tokens", parse=read, seeds=[path.read_bytes()], share=0.2)]
