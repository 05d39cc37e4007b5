"""How a device and its coordinator meet: the token, and the messages of `/v1/enrol`, `/v1/renew` and `/v1/rescue`, as
JSON.

1. An operator has a token minted and carries it to the device.
2. The device fetches `/v1/ca` over a connection that it cannot trust yet, and holds the certificate it gets
   against the fingerprint in the token; from then on it trusts that authority and no other.
3. It posts an `EnrolRequest` to `/v1/enrol`. The token opens that door once; a repetition with the same
   token *and* the same public key gets the same device again, since the first answer may have been lost.
4. Before its certificate expires it posts a `RenewRequest` to `/v1/renew`, proving that it holds the old key.
5. If it was away when its certificate expired, it posts a `RescueRequest` to `/v1/rescue` with the same proof. That is
   granted for a while after the end, for its newest certificate and the same key only; later a token is needed.

A refusal is a 4xx status with a `Refusal` as its body.
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from shared.errors import ContractError
from shared.ids import check_digest, check_name

T = TypeVar("T")

MAX_BODY = 64 << 10
"""Bytes of any of these documents; a root with hundreds of keys fits."""

PREFIX = "hl1."


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator carries to a device."""

    id: str
    """Names the coordinator's record of the token."""

    secret: str
    """32 random bytes, base64url; the coordinator keeps their SHA-256 only."""

    ca_sha256: str
    """SHA-256 of the authority's certificate in DER."""

    url: str
    """Where the API is, e.g. `https://192.0.2.7:8443`."""

    expires: int
    """Unix seconds; a hint for the device, the coordinator decides by its own record."""


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A device asks for its identity."""

    token: str
    csr: str
    """PKCS#10 in PEM; only its public key and its signature count."""

    hardware: list[str] = []
    """Facts about this device, e.g. `cpu`, `sm87`."""

    runtimes: list[str] = []
    """Values of `shared.bundle.Runtime`."""

    agent: str = ""
    """Version of the agent."""


class EnrolAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All that a device must know of its coordinator."""

    device: str
    fleet: str
    tenant: str
    certificate: str
    """PEM; its common name is `device`."""

    authority: str
    """PEM of the only authority to trust from now on."""

    root: str
    """The tenant's first TUF root, the exact text of `1.root.json`."""

    broker_host: str
    broker_port: int
    superlink: str = ""
    """`host:port` of the federated engine; empty when this device does not train."""

    server_name: str = ""
    """Name that broker and SuperLink certificates carry, where it is not the host that is dialled."""


class RenewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A device asks for a new certificate before the old one expires."""

    certificate: str
    """The present one, PEM."""

    csr: str
    """For the new key, which may be the old one."""

    signature: bytes
    """By the present key, ECDSA with SHA-256 (DER) over `renewal_statement(csr)`. Whoever replays it gets a
    certificate for a key that only the device has."""


class RescueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A device that was away asks for a certificate after the old one expired; answered with a `RenewAnswer`."""

    certificate: str
    """The expired one, PEM."""

    csr: str
    """For the same key."""

    signature: bytes
    """As in `RenewRequest`, over `rescue_statement(csr)`: a recorded renewal is no rescue."""


class RenewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The new certificate."""

    certificate: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why not, and what to do about it."""

    code: str
    message: str
    hint: str = ""


def encode_token(token: Token) -> str:
    """The text an operator copies."""
    body = msgspec.json.encode(token, order="sorted")
    return PREFIX + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def parse_token(text: str) -> Token:
    """Read a token; whether it is good only the coordinator knows.

    Raises:
        ContractError: this is no token, or one that was cut or mistyped.
    """
    hint = "Copy the whole token, or ask for a new one."
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_BODY:
        raise ContractError("this is no enrolment token", hint=hint)
    body = text.removeprefix(PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        token = msgspec.json.decode(data, type=Token)
        check_name(token.id, kind="token id")
        check_digest(token.ca_sha256)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError, ContractError) as error:
        raise ContractError("this enrolment token is damaged", hint=hint) from error
    if not token.secret or not token.url.startswith("https://"):
        raise ContractError("this enrolment token is incomplete", hint=hint)
    return token


def renewal_statement(csr: str) -> bytes:
    """What the present key signs; the first line keeps it from meaning anything elsewhere."""
    return b"hinterland renewal 1\n" + csr.encode()


def rescue_statement(csr: str) -> bytes:
    """What the key of an expired certificate signs."""
    return b"hinterland rescue 1\n" + csr.encode()


def to_json(message: msgspec.Struct) -> bytes:
    """Encode one of the documents above."""
    return msgspec.json.encode(message)


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode one of the documents above.

    Raises:
        ContractError: too large, not JSON, or not of that kind.
    """
    if len(data) > MAX_BODY:
        raise ContractError(f"a body of {len(data)} bytes is over the limit of {MAX_BODY}")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"no {kind.__name__}: {error}") from error
