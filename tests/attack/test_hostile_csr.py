"""Whatever a certificate request says of itself, the certificate says what the coordinator decided."""

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.authority import Authority, public_key
from cloud.release import Sealer
from edge.identity.keys import certificate_request, sign
from shared.enrolment import RenewRequest, renewal_statement
from shared.errors import ContractError, RefusedError, TrustError
from shared.ids import RESERVED

AT = 1_767_225_600.0
DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("ca"), name="demo", sealer=Sealer(b"secret", cost=4), at=AT)


def request(key, *extensions, name="wrist-1"):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def issued(authority, csr, device="wrist-1"):
    return x509.load_pem_x509_certificate(authority.issue_device(csr, device, at=AT).encode())


HOSTILE = {
    "honest": [],
    "authority": [x509.BasicConstraints(ca=True, path_length=None)],
    "signs": [
        x509.KeyUsage(
            digital_signature=True,
            content_commitment=True,
            key_encipherment=True,
            data_encipherment=True,
            key_agreement=True,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
    ],
    "serves": [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])],
    "alias": [x509.SubjectAlternativeName([x509.DNSName("coordinator"), x509.DNSName("wrist-2")])],
    "unknown": [x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\xff" * 50)],
}


@pytest.mark.parametrize("extensions", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", ["wrist-1", "coordinator", "../../x", "wrist-2"])
def test_names_and_extensions_are_ignored(authority, extensions, name):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issued(authority, request(key, *extensions, name=name))
    assert certificate.subject.rfc4514_string() == "CN=wrist-1"
    assert certificate.public_key() == key.public_key()
    get = certificate.extensions.get_extension_for_class
    assert get(x509.BasicConstraints).value.ca is False
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert get(x509.KeyUsage).value.key_cert_sign is False
    kinds = {extension.oid for extension in certificate.extensions}
    assert x509.SubjectAlternativeName.oid not in kinds
    assert len(kinds) == 5


@pytest.mark.parametrize("device", [*sorted(RESERVED), "", "a/b", "+", "#", "A", "wrist_1", "x" * 64, "wrist-1\n"])
def test_names_no_device_may_carry(authority, device):
    csr = request(ec.generate_private_key(ec.SECP256R1()))
    assert issued(authority, csr)
    with pytest.raises(ContractError):
        authority.issue_device(csr, device, at=AT)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa", "p384", "ed25519"],
)
def test_other_kinds_of_keys(authority, key):
    with pytest.raises(ContractError, match="P-256"):
        authority.issue_device(request(key), "wrist-1", at=AT)


EMPTY = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"


@pytest.mark.parametrize("csr", ["", "x", EMPTY])
def test_no_request_at_all(authority, csr):
    with pytest.raises(ContractError):
        authority.issue_device(csr, "wrist-1", at=AT)


def test_oversized_request(authority):
    csr = request(
        ec.generate_private_key(ec.SECP256R1()),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\xff" * 20_000),
    )
    with pytest.raises(ContractError, match="too large"):
        authority.issue_device(csr, "wrist-1", at=AT)


def test_a_key_that_the_requester_does_not_hold(authority):
    """Somebody else's public key inside a request: its signature cannot be right."""
    victim = ec.generate_private_key(ec.SECP256R1())
    csr = x509.load_pem_x509_csr(request(victim).encode())
    stolen = csr.public_bytes(Encoding.DER)
    broken = stolen[:-4] + bytes(byte ^ 1 for byte in stolen[-4:])
    pem = x509.load_der_x509_csr(broken).public_bytes(Encoding.PEM).decode()
    with pytest.raises(TrustError):
        authority.issue_device(pem, "wrist-1", at=AT)
    with pytest.raises(TrustError):
        public_key(pem)


def test_devices_get_no_server_names(authority):
    with pytest.raises(RefusedError):
        authority.issue_server("wrist-1", ["127.0.0.1"], at=AT)
    assert authority.issue_server("broker", ["127.0.0.1", "broker.local"], at=AT)


class TestRenewal:
    """Only the holder of the present key gets the next certificate."""

    def ask(self, authority, *, key, signer=None, certificate=None):
        csr = certificate_request(key)
        present = certificate or authority.issue_device(csr, "wrist-1", at=AT)
        return RenewRequest(certificate=present, csr=csr, signature=sign(signer or key, renewal_statement(csr)))

    def test_honest(self, authority):
        key = ec.generate_private_key(ec.SECP256R1())
        assert authority.check_renewal(self.ask(authority, key=key), at=AT) == "wrist-1"

    def test_by_another_key(self, authority):
        key, thief = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        with pytest.raises(TrustError, match="not signed by the present key"):
            authority.check_renewal(self.ask(authority, key=key, signer=thief), at=AT)

    def test_for_another_request(self, authority):
        key, thief = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        asked = self.ask(authority, key=key)
        swapped = msgspec.structs.replace(asked, csr=certificate_request(thief))
        with pytest.raises(TrustError):
            authority.check_renewal(swapped, at=AT)

    def test_expired(self, authority):
        key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(TrustError, match="out of date"):
            authority.check_renewal(self.ask(authority, key=key), at=AT + 91 * DAY)

    def test_from_another_authority(self, authority, tmp_path):
        other = Authority.create(tmp_path, name="demo", sealer=Sealer(b"x", cost=4), at=AT)
        key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(TrustError, match="not from this authority"):
            authority.check_renewal(self.ask(other, key=key), at=AT)

    def test_of_a_server(self, authority):
        """A server's certificate opens no device's door."""
        key = ec.generate_private_key(ec.SECP256R1())
        server = authority.issue_client("coordinator", at=AT).certificate
        with pytest.raises(ContractError):
            authority.check_renewal(self.ask(authority, key=key, certificate=server), at=AT)
