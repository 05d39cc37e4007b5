"""Attestations as the HTTP API shows them: signed statements about a release, whole."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from shared.errors import ContractError


class Attested(msgspec.Struct, frozen=True, kw_only=True):
    """One attestation."""

    kind: str
    """`provenance`, `evaluation`, `parity` or `bom`."""

    attestor: str
    """Id of the key that signed."""

    envelope: str
    """DSSE with an in-toto statement, JSON: what is exported, and what other tools verify."""

    at: float
    """When it was signed, Unix seconds."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a statement that is shown."""

    predicate_type: str = msgspec.field(name="predicateType")
    subject: list[dict[str, Any]]
    predicate: dict[str, Any]


class _Envelope(msgspec.Struct, frozen=True):
    payload: str


def statement(attested: Attested) -> Statement:
    """What an attestation says; whether its signature is good is for whoever has the attestor's key.

    Raises:
        ContractError: it is no envelope around a statement.
    """
    try:
        payload = base64.b64decode(msgspec.json.decode(attested.envelope, type=_Envelope).payload, validate=True)
        return msgspec.json.decode(payload, type=Statement)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise ContractError(f"no attestation: {error}") from error
