"""Statements on the wire: in-toto statement version 1 in a DSSE envelope, signed by a key of the key ring.

Specifications: https://github.com/in-toto/attestation/tree/main/spec/v1 and
https://github.com/secure-systems-lab/dsse. Any in-toto verifier reads them, `cosign verify-blob-attestation` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, Signer

from cloud.release.attest.kinds import PREDICATES, Attestation, Kind
from shared.bundle import Release
from shared.clock import utc
from shared.errors import TrustError
from shared.trust.modelsig import PAYLOAD_TYPE, STATEMENT_TYPE, unsigned_digest

ATTESTOR = "attestor"
"""Name of the coordinator's own attesting key in the key ring."""

MAX_ENVELOPE = 1 << 20
"""Characters; a bill of materials is some 5,000."""

MADE_AT = "attestedAt"
"""Field of our own predicates: when what they tell was found out, RFC 3339."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """In-toto, version 1."""

    type: str = msgspec.field(name="_type", default=STATEMENT_TYPE)
    subject: list[dict[str, Any]]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: dict[str, Any]


def subjects(release: Release) -> dict[str, str]:
    """Name → SHA-256 of what attestations of `release` are about: its files, its manifest without signatures."""
    files = {variant.name: variant.digest for variant in release.variants}
    return {release.id: unsigned_digest(release), **files}


def attest(kind: Kind, predicate: Mapping[str, Any], *, about: Mapping[str, str], signer: Signer) -> str:
    """Sign a statement; the envelope's JSON."""
    statement = Statement(
        subject=[{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(about.items())],
        predicate_type=PREDICATES[kind],
        predicate=dict(predicate),
    )
    envelope = Envelope(msgspec.json.encode(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":"), sort_keys=True)


def open_attestation(text: str, *, keys: Mapping[str, Key]) -> Attestation:
    """Verify an envelope by one of `keys`, then read it.

    Raises:
        TrustError: no key of `keys` signed it, or it is no statement of a kind that is known here.
    """
    if len(text) > MAX_ENVELOPE:
        raise TrustError(f"an attestation of {len(text)} characters is over the limit of {MAX_ENVELOPE}")
    try:
        envelope = Envelope.from_dict(json.loads(text))
        accepted = envelope.verify([keys[name] for name in envelope.signatures if name in keys], 1)
        statement = msgspec.json.decode(envelope.payload, type=Statement)
        kind = next(kind for kind, name in PREDICATES.items() if name == statement.predicate_type)
        about = {str(subject["name"]): str(subject["digest"]["sha256"]) for subject in statement.subject}
    except (VerificationError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        raise TrustError(f"an attestation failed its proof: {type(error).__name__}: {error}"[:300]) from error
    if (envelope.payload_type, statement.type) != (PAYLOAD_TYPE, STATEMENT_TYPE):
        raise TrustError("an attestation is no in-toto statement")
    return Attestation(
        kind=kind,
        attestor=min(accepted),
        subjects=about,
        predicate=statement.predicate,
        made_at=_made_at(kind, statement.predicate),
    )


def rfc3339(at: float) -> str:
    """A time as statements write it, whole seconds in UTC."""
    return utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _made_at(kind: Kind, predicate: Mapping[str, Any]) -> float:
    try:
        match kind:
            case Kind.PROVENANCE:
                said = predicate["runDetails"]["metadata"]["finishedOn"]
            case Kind.BOM:
                said = predicate["metadata"]["timestamp"]
            case _:
                said = predicate[MADE_AT]
        return datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(f"an attestation of kind {kind} does not say when it was made") from error
