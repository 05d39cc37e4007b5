"""The Open Inference Protocol v2 over gRPC; needs the extra `edge-grpc`, which is imported only where it is served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from edge.relay.address import Address
from edge.serving.answers import Answered
from edge.serving.describe import describe
from edge.serving.desk import Desk, LateError, UnknownModelError
from edge.serving.gate import FullError, Gate
from edge.serving.grpc_messages import METHODS, SERVICE, messages
from edge.serving.requests import (
    MAX_TENSORS,
    MAX_TEXT,
    Asked,
    Tensor,
    Wanted,
    check_shape,
    dtype_of,
    from_bytes,
)
from edge.serving.rest import server_metadata
from edge.serving.tokens import Tokens, bearer
from shared.errors import ContractError, FaultError

log = logging.getLogger(__name__)

RETRY_S = 30.0
"""Seconds until it tries again to listen."""

STOP_S = 1.0

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}  # fmt: skip
"""Where the numbers of a type stand that do not come as bytes."""


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class GrpcServer:
    """Serves one desk at one address."""

    def __init__(
        self,
        desk: Desk,
        *,
        listen: Address,
        gate: Gate,
        tokens: Tokens | None,
        pair: Callable[[], Pair] | None,
        requests: int,
        body_bytes: int,
    ) -> None:
        """Take who may ask (None for everybody) and what gives the certificate; None for no TLS."""
        self._desk = desk
        self._listen = listen
        self._gate = gate
        self._tokens = tokens
        self._pair = pair
        self._requests = requests
        self._body_bytes = body_bytes
        self.port = 0
        """Where it listens now; 0 while it does not."""

    async def run(self) -> None:
        """Serve until cancelled."""
        import grpc

        threads = ThreadPoolExecutor(max_workers=self._requests + 2, thread_name_prefix="serving-grpc")
        server = grpc.server(
            threads,
            maximum_concurrent_rpcs=4 * self._requests,
            options=[
                ("grpc.max_receive_message_length", self._body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        service = _Service(self._desk, loop=asyncio.get_running_loop(), gate=self._gate, tokens=self._tokens)
        server.add_generic_rpc_handlers((_handlers(grpc, service),))
        try:
            await self._bind(grpc, server)
            server.start()
            log.info("gRPC callers are served at %s", self._listen)
            await asyncio.Event().wait()
        finally:
            self.port = 0
            await asyncio.to_thread(server.stop(STOP_S).wait)
            threads.shutdown(wait=False)

    async def _bind(self, grpc: Any, server: Any) -> None:
        while True:
            try:
                self.port = await asyncio.to_thread(self._bound, grpc, server)
            except (RuntimeError, OSError, FaultError) as error:
                log.warning("no gRPC at %s: %s", self._listen, error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _bound(self, grpc: Any, server: Any) -> int:
        address = str(self._listen)
        if self._pair is None:
            return int(server.add_insecure_port(address))

        def fetch() -> Any:  # before each handshake: a renewed certificate is shown from then on
            pair = self._pair() if self._pair is not None else Pair(b"", b"")
            return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)])

        credentials = grpc.dynamic_ssl_server_credentials(fetch(), fetch)
        return int(server.add_secure_port(address, credentials))


class RpcError(Exception):
    """A call that gets no more than a code and a sentence."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Service:
    """One method for each of `METHODS`, called in gRPC's threads."""

    def __init__(self, desk: Desk, *, loop: asyncio.AbstractEventLoop, gate: Gate, tokens: Tokens | None) -> None:
        self._desk = desk
        self._loop = loop
        self._gate = gate
        self._tokens = tokens

    def call(self, method: str, request: Any, metadata: Mapping[str, str]) -> Any:
        """Answer one call.

        Raises:
            RpcError: it gets no more than a code and a sentence.
        """
        try:
            if method == "ServerLive":
                return messages().ServerLiveResponse(live=True)
            if method == "ServerReady":
                return messages().ServerReadyResponse(ready=self._desk.ready)
            return self._answer(method, request, self._prove(metadata))
        except UnknownModelError as error:
            raise RpcError("NOT_FOUND", str(error)) from error
        except ContractError as error:
            raise RpcError("INVALID_ARGUMENT", str(error)) from error
        except FullError as error:
            raise RpcError("RESOURCE_EXHAUSTED" if error.own else "UNAVAILABLE", f"{error}; come again") from error
        except LateError as error:
            raise RpcError("UNAVAILABLE", str(error)) from error
        except FaultError as error:
            raise RpcError("INTERNAL", str(error)) from error

    def _answer(self, method: str, request: Any, who: str) -> Any:
        kinds = messages()
        if method == "ServerMetadata":
            return kinds.ServerMetadataResponse(**server_metadata())
        if method == "RepositoryIndex":
            found = [(model, self._desk.serving(model)) for model in self._desk.models]
            index = [
                kinds.ModelIndex(name=model, version=str(served.release.counter), state="READY")
                for model, served in found
            ]
            return kinds.RepositoryIndexResponse(models=index)
        if method == "ModelReady":
            return kinds.ModelReadyResponse(ready=self._is_ready(request.name, request.version))
        if method == "ModelMetadata":
            return _metadata(describe(request.name, self._desk.serving(request.name, request.version)))
        with self._gate.seat(who):
            asked = read_message(request)
            work = asyncio.run_coroutine_threadsafe(
                self._desk.infer(request.model_name, asked, version=request.model_version), self._loop
            )
            return write_message(work.result())

    def _is_ready(self, model: str, version: str) -> bool:
        try:
            self._desk.serving(model, version)
        except UnknownModelError:
            return False
        return True

    def _prove(self, metadata: Mapping[str, str]) -> str:
        if self._tokens is None:
            return ""
        try:
            who = self._tokens.who(bearer(metadata))
        except FaultError as error:
            raise RpcError("UNAVAILABLE", "this device cannot read its tokens") from error
        if who is None:
            raise RpcError("UNAUTHENTICATED", "show a token in the metadata: authorization: Bearer …")
        return who


def read_message(request: Any) -> Asked:
    """A request of this protocol from its message.

    Raises:
        ContractError: it is none.
    """
    if not 0 < len(request.inputs) <= MAX_TENSORS:
        raise ContractError(f"a request has 1 to {MAX_TENSORS} inputs, this one has {len(request.inputs)}")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise ContractError(f"{len(request.inputs)} inputs came with {len(raw)} raw contents")
    inputs = [
        from_bytes(each.name, each.datatype, list(each.shape), raw[index]) if raw else _from_contents(each)
        for index, each in enumerate(request.inputs)
    ]
    outputs = [_wanted(each) for each in list(request.outputs)[:MAX_TENSORS]]
    said = request.parameters["raw"] if "raw" in request.parameters else None  # noqa: SIM401 - a map of protobuf
    return Asked(inputs=inputs, id=request.id[:MAX_TEXT], outputs=outputs, raw=said is not None and said.bool_param)


def write_message(answered: Answered) -> Any:
    """The message of an answer; numbers travel as bytes."""
    kinds = messages()
    outputs = [
        kinds.InferOutputTensor(name=each.name, datatype=each.datatype, shape=each.shape) for each in answered.outputs
    ]
    return kinds.ModelInferResponse(
        model_name=answered.model,
        model_version=answered.version,
        id=answered.id,
        outputs=outputs,
        raw_output_contents=[each.to_bytes() for each in answered.outputs],
    )


def _from_contents(tensor: Any) -> Tensor:
    name, datatype, shape = tensor.name[:MAX_TEXT], tensor.datatype, list(tensor.shape)
    count, dtype = check_shape(name, shape), dtype_of(name, datatype)
    if datatype not in _CONTENTS:
        raise ContractError(f"{name!r}: {datatype} travels in raw_input_contents only")
    numbers = getattr(tensor.contents, _CONTENTS[datatype])
    if len(numbers) != count:
        raise ContractError(f"{name!r} has {len(numbers)} numbers; shape {shape} takes {count}")
    try:
        return Tensor(name=name, values=np.asarray(list(numbers), dtype).reshape(shape))
    except (ValueError, OverflowError) as error:
        raise ContractError(f"the numbers of {name!r} do not fit {datatype}") from error


def _wanted(output: Any) -> Wanted:
    said = output.parameters["classification"] if "classification" in output.parameters else None  # noqa: SIM401 - as above
    classes = said.int64_param if said is not None else 0
    if not 0 <= classes < 1 << 16:
        raise ContractError(f"classification is a number of classes, not {classes}")
    return Wanted(name=output.name[:MAX_TEXT], binary=True, classes=classes)


def _metadata(described: Mapping[str, Any]) -> Any:
    kinds = messages()
    sides: dict[str, Sequence[Any]] = {
        side: [kinds.TensorMetadata(**tensor) for tensor in described[side]] for side in ("inputs", "outputs")
    }
    properties = {name: ", ".join(value) if isinstance(value, list) else value
                  for name, value in described["parameters"].items()}  # fmt: skip
    return kinds.ModelMetadataResponse(
        name=described["name"],
        versions=described["versions"],
        platform=described["platform"],
        properties=properties,
        **sides,
    )


def _handlers(grpc: Any, service: _Service) -> Any:
    kinds = messages()

    def handler(method: str) -> Any:
        def call(request: Any, context: Any) -> Any:
            metadata = {key.lower(): value for key, value in context.invocation_metadata() if isinstance(value, str)}
            try:
                return service.call(method, request, metadata)
            except RpcError as error:
                context.abort(grpc.StatusCode[error.code], str(error))

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=getattr(kinds, f"{method}Request").FromString,
            response_serializer=getattr(kinds, f"{method}Response").SerializeToString,
        )

    return grpc.method_handlers_generic_handler(SERVICE, {method: handler(method) for method in METHODS})
