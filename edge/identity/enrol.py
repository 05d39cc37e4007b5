"""Enrolment: from a token to an identity."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from edge.identity.api import pinned_authority, post
from edge.identity.identity import Identity, read_certificate, store
from edge.identity.keys import certificate_request, ensure_key
from shared.clock import Clock, SystemClock
from shared.enrolment import EnrolAnswer, EnrolRequest, encode_token, parse_token
from shared.errors import RefusedError, TrustError
from shared.tls import pinned


def enrol(
    directory: Path,
    *,
    token: str,
    hardware: Iterable[str],
    runtimes: Iterable[str],
    agent: str = "",
    clock: Clock | None = None,
) -> Identity:
    """Become a device: make a key, prove it, keep the answer. Safe to repeat after a crash at any step.

    Args:
        directory: where the identity is kept; must hold none yet.
        token: as the operator got it.
        hardware: facts about this device that releases may ask for.
        runtimes: what it can execute.
        agent: version of the agent.
        clock: the machine's when None; it may be behind.

    Raises:
        RefusedError: there is an identity already, or the token is unknown, used or expired.
        TrustError: the coordinator is not the one the token names.
        TransportError: it did not answer.
        ContractError: no token, or no proper answer.
        FaultError: the disk failed.
    """
    if Identity.exists(directory):
        raise RefusedError(f"{directory} holds an identity already", hint="Remove it to enrol anew.")
    parsed = parse_token(token)
    authority = pinned_authority(parsed.url, fingerprint=parsed.ca_sha256)
    key = ensure_key(directory)
    request = EnrolRequest(
        token=encode_token(parsed),
        csr=certificate_request(key),
        hardware=sorted(hardware),
        runtimes=sorted(runtimes),
        agent=agent,
    )
    began = read_certificate(authority).not_valid_before_utc.timestamp()
    clock = clock or SystemClock()
    context = pinned(authority, now=lambda: max(clock.now(), began))
    answer = post(f"{parsed.url}/v1/enrol", request, EnrolAnswer, context=context)
    check_certificate(answer.certificate, authority=authority, key=key.public_key())
    # what was pinned is kept, not what the answer repeats
    return store(directory, msgspec.structs.replace(answer, authority=authority), url=parsed.url)


def check_certificate(certificate: str, *, authority: str, key: ec.EllipticCurvePublicKey) -> None:
    """Hold a certificate for this device against the authority and the device's own key.

    Raises:
        TrustError: it is from somebody else, or for another key.
        ContractError: it is no certificate.
    """
    parsed = read_certificate(certificate)
    try:
        parsed.verify_directly_issued_by(read_certificate(authority))
    except (InvalidSignature, ValueError, TypeError) as error:
        raise TrustError("the certificate is not from the authority that was pinned") from error
    if parsed.public_key() != key:
        raise TrustError("the certificate is for another key")
