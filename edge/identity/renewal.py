"""A new certificate before the old one runs out, or for a while after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography import x509

from edge.identity.api import post
from edge.identity.enrol import check_certificate
from edge.identity.identity import Identity
from edge.identity.keys import certificate_request, ensure_key, sign
from edge.identity.schedule import renewal_at
from shared.durable import read_if_present, write_atomic
from shared.enrolment import RenewAnswer, RenewRequest, RescueRequest, renewal_statement, rescue_statement
from shared.errors import FaultError, RefusedError
from shared.tls import pinned

Now = Callable[[], float]


def due(identity: Identity) -> float:
    """When the present certificate is to be renewed, Unix seconds.

    Raises:
        FaultError: it is damaged.
    """
    try:
        held = x509.load_pem_x509_certificate(_text(identity.certificate_file).encode())
    except ValueError as error:
        raise FaultError(f"{identity.certificate_file} is damaged", hint="Enrol this device again.") from error
    begins, ends = held.not_valid_before_utc.timestamp(), held.not_valid_after_utc.timestamp()
    return renewal_at(identity.device, begins=begins, ends=ends)


def renew(identity: Identity, *, now: Now) -> None:
    """Replace the device's certificate; the key stays, since the federated engine knows the device by it.

    Args:
        identity: of this device.
        now: by which the coordinator's own certificate is judged.

    Raises:
        RefusedError: the device was revoked, or its certificate has expired or is not its newest.
        TransportError: no answer; the present certificate serves on.
        TrustError: the answer is for another key or from another authority.
        ContractError: no proper answer.
        FaultError: the disk failed.
    """
    key = ensure_key(identity.directory)
    csr = certificate_request(key)
    signature = sign(key, renewal_statement(csr))
    present = _text(identity.certificate_file)
    _ask(identity, "renew", RenewRequest(certificate=present, csr=csr, signature=signature), now=now)


def rescue(identity: Identity, *, now: Now) -> None:
    """Get a certificate after the last one expired, which is granted for a while; raises as `renew` does."""
    key = ensure_key(identity.directory)
    csr = certificate_request(key)
    signature = sign(key, rescue_statement(csr))
    expired = _text(identity.certificate_file)
    _ask(identity, "rescue", RescueRequest(certificate=expired, csr=csr, signature=signature), now=now)


def refresh(identity: Identity, *, now: Now) -> None:
    """Renew, or be rescued: whether the certificate has expired the coordinator knows better than this clock.

    Raises:
        RefusedError: neither is granted.
        HinterlandError: as for `renew`.
    """
    try:
        renew(identity, now=now)
    except RefusedError as refused:
        try:
            rescue(identity, now=now)
        except RefusedError as last:
            raise RefusedError(f"{refused}; {last}", hint=refused.hint or last.hint) from last


def _ask(identity: Identity, route: str, request: msgspec.Struct, *, now: Now) -> None:
    authority = _text(identity.authority_file)
    context = pinned(authority, now=now)
    answer = post(f"{identity.url}/v1/{route}", request, RenewAnswer, context=context)
    check_certificate(answer.certificate, authority=authority, key=ensure_key(identity.directory).public_key())
    write_atomic(identity.certificate_file, answer.certificate.encode())


def _text(path: Path) -> str:
    data = read_if_present(path)
    if data is None:
        raise FaultError(f"{path} is missing", hint="Enrol this device again.")
    return data.decode("ascii", errors="replace")
