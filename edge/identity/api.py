"""The three calls a device makes over HTTPS; everything else travels over the broker."""

from __future__ import annotations

import ssl
from typing import TypeVar

import httpx
import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from edge.identity.identity import read_certificate
from shared.enrolment import MAX_BODY, Refusal, from_json, to_json
from shared.errors import ContractError, RefusedError, TransportError, TrustError
from shared.ids import sha256

T = TypeVar("T")

TIMEOUT = 20.0
"""Seconds for each step of a call; signing on a small coordinator under load takes a few."""


def pinned_authority(url: str, *, fingerprint: str) -> str:
    """Fetch the authority's certificate and believe it only if it is the one that the token names.

    Returns:
        The certificate, PEM.

    Raises:
        TrustError: another certificate: somebody stands between.
        TransportError: no answer.
        ContractError: no certificate.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is trusted yet; the fingerprint decides below
    status, body = _call("GET", f"{url}/v1/ca", context=context)
    if status != httpx.codes.OK:
        raise _refused(status, body)
    try:
        pem = body.decode("ascii")
    except UnicodeDecodeError as error:
        raise ContractError("the coordinator sent no certificate") from error
    found = sha256(read_certificate(pem).public_bytes(Encoding.DER))
    if found != fingerprint:
        raise TrustError(
            f"{url} shows an authority with fingerprint {found[:16]}…, the token names {fingerprint[:16]}…",
            hint="Check the address; if it is right, somebody listens in on the connection.",
        )
    return pem


def post(url: str, message: msgspec.Struct, kind: type[T], *, context: ssl.SSLContext) -> T:
    """Post one document and decode the answer.

    Raises:
        RefusedError: the coordinator says no, with its reason.
        TransportError: no answer, an error on its side, or a certificate that is not from our authority.
        ContractError: the answer is not what it should be.
    """
    status, body = _call("POST", url, context=context, content=to_json(message))
    if status != httpx.codes.OK:
        raise _refused(status, body)
    return from_json(body, kind)


def _call(method: str, url: str, *, context: ssl.SSLContext, content: bytes | None = None) -> tuple[int, bytes]:
    headers = {"content-type": "application/json"} if content else {}
    try:
        with (
            # a proxy named in the environment seldom knows the way to a coordinator on the plant's own network
            httpx.Client(verify=context, timeout=TIMEOUT, trust_env=False) as client,
            client.stream(method, url, content=content, headers=headers) as response,
        ):
            return response.status_code, _bounded(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransportError(f"{url} did not answer: {error}", hint="Check the address and the network.") from error


def _bounded(response: httpx.Response) -> bytes:
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_BODY:
            raise ContractError(f"the coordinator's answer is over the limit of {MAX_BODY} bytes")
    return body


def _refused(status: int, body: bytes) -> RefusedError | TransportError:
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return TransportError(f"the coordinator failed with status {status}", hint="Try again later.")
    try:
        refusal = from_json(body, Refusal)
    except ContractError:
        return RefusedError(f"the coordinator refused with status {status}")
    return RefusedError(refusal.message, hint=refusal.hint)
