"""TLS for a machine whose clock may be wrong: the peer is proven as always, but the time is ours to say.

A device without a battery starts in 1970, and to OpenSSL every certificate is then "not yet valid": the device could
neither reach the broker nor ask for a certificate. So OpenSSL checks chain, purpose and name, and the period is judged
here against a time that is never earlier than what our own authority has signed (`edge.identity.floor`).

`not before` is left out on purpose. Our time is a lower bound: where a certificate that the pinned authority signed
begins later, the clock is behind, and nothing more. `not after` is judged as always; a clock that is ahead refuses
certificates that are good, which only a right clock can mend.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import cast

from cryptography import x509

NO_CHECK_TIME = 0x200000
"""`X509_V_FLAG_NO_CHECK_TIME` of OpenSSL, which Python's `ssl` does not name."""


def pinned(authority: str, *, now: Callable[[], float]) -> ssl.SSLContext:
    """A client's context that trusts one authority (PEM) and judges periods by `now` (Unix seconds)."""
    context = ssl.create_default_context(cadata=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return judged_by(context, authority, now=now)


def judged_by(context: ssl.SSLContext, authority: str, *, now: Callable[[], float]) -> ssl.SSLContext:
    """Have `context` judge the periods of the peer and of `authority` (PEM), its only one, by `now`."""
    root = x509.load_pem_x509_certificate(authority.encode())

    class Dated(cast("type[ssl.SSLSocket]", context.sslsocket_class)):  # type: ignore[misc]  # whatever it was before
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            try:
                _check(x509.load_der_x509_certificate(self.getpeercert(binary_form=True) or b""), root, at=now())
            except (ValueError, ssl.SSLError):
                self.close()
                raise

    context.sslsocket_class = Dated
    context.verify_flags |= NO_CHECK_TIME
    return context


def _check(*chain: x509.Certificate, at: float) -> None:
    if any(certificate.not_valid_after_utc.timestamp() < at for certificate in chain):
        raise ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED: certificate has expired")
