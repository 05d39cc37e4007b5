"""A new certificate before the old one runs out."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from edge.identity.api import post
from edge.identity.enrol import check_certificate
from edge.identity.identity import Identity
from edge.identity.keys import certificate_request, ensure_key, sign
from shared.clock import utc
from shared.durable import read_if_present, write_atomic
from shared.enrolment import RenewAnswer, RenewRequest, renewal_statement
from shared.errors import FaultError


def needs_renewal(certificate: str, *, at: float) -> bool:
    """Whether two thirds of the certificate's life are over: a third is left for a coordinator that is away.

    Args:
        certificate: PEM.
        at: Unix seconds.
    """
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    return utc(at) >= begins + (ends - begins) * 2 / 3


def renew(identity: Identity) -> None:
    """Replace the device's certificate; the key stays, since the federated engine knows the device by it.

    Raises:
        RefusedError: the device was revoked, or its certificate has expired: enrol again.
        TransportError: no answer; the present certificate serves on.
        TrustError: the answer is for another key or from another authority.
        ContractError: no proper answer.
        FaultError: the disk failed.
    """
    authority, present = _text(identity.authority_file), _text(identity.certificate_file)
    key = ensure_key(identity.directory)
    csr = certificate_request(key)
    request = RenewRequest(certificate=present, csr=csr, signature=sign(key, renewal_statement(csr)))
    context = ssl.create_default_context(cadata=authority)
    answer = post(f"{identity.url}/v1/renew", request, RenewAnswer, context=context)
    check_certificate(answer.certificate, authority=authority, key=key.public_key())
    write_atomic(identity.certificate_file, answer.certificate.encode())


def _text(path: Path) -> str:
    data = read_if_present(path)
    if data is None:
        raise FaultError(f"{path} is missing", hint="Enrol this device again.")
    return data.decode("ascii", errors="replace")
