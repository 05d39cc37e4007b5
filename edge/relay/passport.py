"""Neighbours know each other by the certificates that they hold anyway: TLS, both ways, and nobody else.

A device's certificate is good for clients only (`cloud.devices.profiles`): a relay's key must not pass for a server of
ours. OpenSSL would therefore refuse a relay, so the neighbour has it check possession of the key, which every handshake
does, and proves the rest here, before it sends a byte. Where a neighbour calls, OpenSSL and this proof both look.

What this does not know is who was revoked: that list is the coordinator's and the broker's. A revoked device can read
chunks from a relay, as it could before, until its certificate ends; it can have no device take what is not signed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.identity.identity import Identity
from shared.errors import ContractError, FaultError, TrustError
from shared.ids import DeviceId, device_id
from shared.tls import NO_CHECK_TIME


class _Side(Enum):
    SERVING, PRESENTING, VISITING = range(3)


class Passport:
    """This device's own papers, and what it asks of others'."""

    def __init__(self, identity: Identity, *, now: Callable[[], float]) -> None:
        """`now` is by what certificates are judged, Unix seconds: never earlier than what the authority has signed."""
        self._identity = identity
        self._now = now
        self._made: dict[_Side, tuple[int, ssl.SSLContext]] = {}

    @property
    def device(self) -> DeviceId:
        """Who this is."""
        return self._identity.device

    def serving(self) -> ssl.SSLContext:
        """For the side that listens; as `visiting`."""
        return self._context(_Side.SERVING)

    def presenting(self) -> ssl.SSLContext:
        """For the side that listens to whoever comes: nobody is asked for a certificate; as `visiting`."""
        return self._context(_Side.PRESENTING)

    def visiting(self) -> ssl.SSLContext:
        """For the side that calls; with the newest certificate.

        Raises:
            FaultError: the files are missing or do not belong together.
        """
        return self._context(_Side.VISITING)

    def prove(self, certificate: bytes | None) -> DeviceId:
        """Who the peer of a finished handshake is.

        Args:
            certificate: as the peer showed it, DER; None if it showed none.

        Raises:
            TrustError: it is no device of our authority, or no longer.
        """
        try:
            peer = x509.load_der_x509_certificate(certificate or b"")
            root = x509.load_pem_x509_certificate(self._identity.authority_file.read_bytes())
            # (1) signed by the one authority, (2) as a device's, (3) and not expired
            peer.verify_directly_issued_by(root)
            usage = peer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            basic = peer.extensions.get_extension_for_class(x509.BasicConstraints).value
            (name,) = peer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            device = device_id(str(name.value))
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, ContractError) as error:
            raise TrustError(f"the peer is no device of this authority: {type(error).__name__}") from error
        if basic.ca or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise TrustError(f"{device} shows a certificate that is none of a device")
        if min(peer.not_valid_after_utc, root.not_valid_after_utc).timestamp() < self._now():
            raise TrustError(f"the certificate of {device} has expired")
        return device

    def _context(self, side: _Side) -> ssl.SSLContext:
        try:
            stamp = self._identity.certificate_file.stat().st_mtime_ns  # renewal replaces the file
            made = self._made.get(side)
            if made is None or made[0] != stamp:
                made = self._made[side] = (stamp, self._make(side))
        except (OSError, ssl.SSLError) as error:
            raise FaultError("this device's certificate cannot be used", hint="Enrol this device again.") from error
        return made[1]

    def _make(self, side: _Side) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if side is _Side.VISITING else ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(self._identity.certificate_file), str(self._identity.key_file))
        if side is _Side.PRESENTING:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            return context
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
        if side is _Side.SERVING:
            context.load_verify_locations(cafile=str(self._identity.authority_file))
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= NO_CHECK_TIME  # `prove` judges by a clock that is ours
            context.num_tickets = 0  # each session proves itself anew
        else:
            context.check_hostname = False  # relays have addresses of a site, and no names
            context.verify_mode = ssl.CERT_NONE  # `prove` does it: to OpenSSL a relay is no server
        return context
