"""The protocol over gRPC, and its messages held against what they carry."""

import asyncio
import secrets
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from edge.relay.address import Address
from edge.serving.gate import Gate
from edge.serving.grpc_messages import METHODS, SERVICE, messages
from edge.serving.grpc_service import GrpcServer, Pair, read_message
from edge.serving.tokens import Tokens
from shared.errors import ContractError
from tests.models import SHAPE
from tests.served_models import Site, windows
from tests.site import NOW, make_authority

KINDS = messages()


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@asynccontextmanager
async def opened(site, *, pair=None, credentials=None, options=()):
    """Its gRPC side on loopback, and what calls it."""
    server = GrpcServer(
        site.desk, listen=Address("127.0.0.1", 0), gate=Gate(most=4), tokens=site.tokens, pair=pair,
        requests=4, body_bytes=1 << 20,
    )  # fmt: skip
    task = asyncio.create_task(server.run())
    while not server.port:
        await asyncio.sleep(0.005)
    target = f"127.0.0.1:{server.port}"
    channel = (
        grpc.aio.secure_channel(target, credentials, options=list(options))
        if credentials
        else grpc.aio.insecure_channel(target)
    )

    async def call(method, request=None, **metadata):
        stub = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=getattr(KINDS, f"{method}Request").SerializeToString,
            response_deserializer=getattr(KINDS, f"{method}Response").FromString,
        )
        request = request or getattr(KINDS, f"{method}Request")()
        return await stub(request, metadata=list(metadata.items()), timeout=60)

    try:
        async with channel:
            yield call
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def infer_request(values, *, raw=True, **fields):
    values = np.asarray(values, np.float32)
    request = KINDS.ModelInferRequest(model_name="toy", id="q", **fields)
    tensor = request.inputs.add(name="x", datatype="FP32", shape=values.shape)
    if raw:
        request.raw_input_contents.append(values.tobytes())
    else:
        tensor.contents.fp32_contents.extend(values.ravel().tolist())
    return request


async def test_each_method_answers(site):
    async with opened(site) as call:
        assert (await call("ServerLive")).live
        assert not (await call("ServerReady")).ready
        assert not (await call("ModelReady", KINDS.ModelReadyRequest(name="toy"))).ready
        await site.serve(3)
        assert (await call("ServerReady")).ready
        assert (await call("ModelReady", KINDS.ModelReadyRequest(name="toy", version="3"))).ready
        assert (await call("ServerMetadata")).name == "hinterland"
        said = await call("ModelMetadata", KINDS.ModelMetadataRequest(name="toy"))
        assert list(said.versions) == ["3"]
        assert list(said.inputs[0].shape) == [-1, *SHAPE]
        assert said.properties["labels"] == "low, high"
        assert (await call("RepositoryIndex")).models[0].name == "toy"
        for raw in (True, False):
            answer = await call("ModelInfer", infer_request(windows(2), raw=raw))
            assert (answer.model_version, answer.id) == ("3", "q")
            assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [1, -1, 1, -1]
    assert set(METHODS) == {
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "RepositoryIndex",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (KINDS.ModelInferRequest(model_name="other"), "INVALID_ARGUMENT"),
        (infer_request(windows(1), model_version="9"), "NOT_FOUND"),
        (infer_request(np.zeros((1, 2, 2))), "INVALID_ARGUMENT"),
        (infer_request(windows(65)), "INVALID_ARGUMENT"),
        (infer_request(np.zeros((1, 400_000))), "RESOURCE_EXHAUSTED"),
    ],
)
async def test_what_is_wrong_has_its_code(site, request_, code):
    await site.serve(1)
    async with opened(site) as call:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call("ModelInfer", request_)
        assert error.value.code() is grpc.StatusCode[code]
        assert (await call("ModelInfer", infer_request(windows(1)))).model_name == "toy"


async def test_a_model_that_fails(site):
    await site.serve(1)
    async with opened(site) as call:
        for before in (site.models.fail, lambda: 1 / 0):
            site.models.before = before
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call("ModelInfer", infer_request(windows(1)))
            assert error.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


async def test_tokens(site, tmp_path):
    site.tokens = Tokens(tmp_path / "serving" / "tokens.json")
    token = site.tokens.create("plc", at=0.0, draw=secrets.token_urlsafe)
    await site.serve(1)
    async with opened(site) as call:
        assert (await call("ServerLive")).live
        for metadata in ({}, {"authorization": "Bearer hls_x"}):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call("ModelInfer", infer_request(windows(1)), **metadata)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await call("ModelInfer", infer_request(windows(1)), authorization=f"Bearer {token}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.inputs[0].shape.append(1 << 40), "impossible shape"),
        (lambda r: r.raw_input_contents.append(b"x"), "raw contents"),
        (lambda r: setattr(r.inputs[0], "datatype", "BYTES"), "known are"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "takes 480"),
        (lambda r: r.ClearField("inputs"), "1 to 8 inputs"),
        (lambda r: r.outputs.add(name="logits").parameters["classification"].__setattr__("int64_param", -1), "classes"),
    ],
)
def test_messages_that_contradict_themselves(change, says):
    request = infer_request(windows(2))
    change(request)
    with pytest.raises(ContractError, match=says):
        read_message(request)


@pytest.mark.parametrize(
    ("datatype", "field", "numbers"),
    [("UINT8", "uint_contents", [1, 300]), ("INT8", "int_contents", [1, -300]), ("FP32", "fp32_contents", [1.0])],
)
def test_numbers_that_do_not_fit(datatype, field, numbers):
    request = KINDS.ModelInferRequest(model_name="toy")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(numbers)
    with pytest.raises(ContractError):
        read_message(request)


def test_half_floats_travel_as_bytes_only():
    request = KINDS.ModelInferRequest(model_name="toy")
    request.inputs.add(name="x", datatype="FP16", shape=[1])
    with pytest.raises(ContractError, match="raw_input_contents only"):
        read_message(request)


async def test_over_tls_with_a_certificate_of_the_owners(site, tmp_path):
    authority = make_authority(tmp_path / "ca")
    own = authority.issue_server("broker", ["127.0.0.1"], at=NOW)
    await site.serve(1)
    credentials = grpc.ssl_channel_credentials(authority.certificate.encode())
    pair = Pair(own.certificate.encode(), own.key.encode())
    async with opened(site, pair=lambda: pair, credentials=credentials) as call:
        assert (await call("ModelInfer", infer_request(windows(1)))).model_name == "toy"
