"""What stands in our certificates and revocation lists, before they are signed (profiles of RFC 5280)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from shared.clock import utc
from shared.ids import check_name

DAY = 86_400.0
"""Seconds."""

AUTHORITY_LIFETIME = 3650 * DAY

BACKDATED = 300.0
"""Seconds that a certificate begins before it is made, for peers whose clocks are behind."""


def authority(name: str, key: ec.EllipticCurvePublicKey, *, at: float) -> x509.CertificateBuilder:
    """A root that certifies leaves and no other authority.

    Args:
        name: of the installation.
        key: its own.
        at: Unix seconds.
    """
    subject = _subject(f"{check_name(name)} authority")
    return (
        _certificate(subject, key, issuer=subject, begins=at - BACKDATED)
        .not_valid_after(utc(at + AUTHORITY_LIFETIME))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )


def leaf(
    name: str,
    key: ec.EllipticCurvePublicKey,
    *,
    usage: ObjectIdentifier,
    issuer: x509.Certificate,
    at: float,
    lifetime: float,
    hosts: Collection[str] = (),
) -> x509.CertificateBuilder:
    """A device or a server.

    Args:
        name: becomes the whole subject.
        key: of the device or server.
        usage: client or server authentication, never both: a stolen server key opens no device's session.
        issuer: the authority, which no leaf outlives.
        at: Unix seconds.
        lifetime: seconds.
        hosts: DNS names and IP addresses of a server.
    """
    early = min(BACKDATED, max(lifetime, 0.0) / 10)  # of a short life the beginning must not be most
    builder = (
        _certificate(_subject(name), key, issuer=issuer.subject, begins=at - early)
        .not_valid_after(min(utc(at + lifetime), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(_key_of(issuer), critical=False)
    )
    if not hosts:
        return builder
    return builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)


def revocations(
    revoked: Mapping[int, float], *, issuer: x509.Certificate, at: float, lifetime: float, number: int
) -> x509.CertificateRevocationListBuilder:
    """A revocation list; arguments as for `Authority.revocation_list`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(utc(at - BACKDATED))
        .next_update(utc(at + lifetime))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_key_of(issuer), critical=False)
    )
    for serial, since in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(utc(since))
        builder = builder.add_revoked_certificate(entry.build())
    return builder


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, *, issuer: x509.Name, begins: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc(begins))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Either certificates and revocation lists (the authority) or digital signatures (a leaf)."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _subject(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def host_names(hosts: Collection[str]) -> tuple[list[str], list[str]]:
    """DNS names and IP addresses among `hosts`."""
    names = [_host(host) for host in hosts]
    dns = [name.value for name in names if isinstance(name, x509.DNSName)]
    return dns, [str(name.value) for name in names if isinstance(name, x509.IPAddress)]


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
