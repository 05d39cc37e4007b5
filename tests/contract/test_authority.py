"""One suite for every issuer behind the certificate authority: a sealed file's key, and a real PKI engine."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.devices.authority import Authority, serial_number
from cloud.devices.profiles import DAY
from cloud.devices.vault_pki import VaultIssuer
from cloud.release import Sealer
from shared.enrolment import RenewRequest, renewal_statement
from shared.errors import ContractError, RefusedError, TransportError, TrustError
from shared.ids import sha256
from tests.real_vault import Bao

MOUNT = "hinterland-default-pki"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("pki")
    bao = Bao(home / "server")
    try:
        bao.prepare(home / "ids")
        yield bao, home / "ids"
    finally:
        bao.stop()


@pytest.fixture(params=["file", pytest.param("vault", marks=pytest.mark.system)])
def authority(request, tmp_path):
    if request.param == "file":
        return Authority.create(tmp_path / "ca", name="default", sealer=Sealer(b"secret", cost=4), at=time.time())
    bao, ids = request.getfixturevalue("prepared")
    return Authority(VaultIssuer.adopt(tmp_path / "ca", vault=bao.vault(ids), mount=MOUNT))


def request_for(key, name="watch-1", *extensions):
    builder = x509.CertificateSigningRequestBuilder().subject_name(name if isinstance(name, x509.Name) else cn(name))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def cn(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


def said(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_a_device(authority, key):
    at = time.time()
    issued = x509.load_pem_x509_certificate(
        authority.issue_device(request_for(key), "watch-1", at=at, lifetime=DAY).encode()
    )
    ca = x509.load_pem_x509_certificate(authority.certificate.encode())
    issued.verify_directly_issued_by(ca)
    assert authority.fingerprint == sha256(ca.public_bytes(Encoding.DER))
    assert issued.subject == cn("watch-1")
    assert issued.public_key() == key.public_key()
    assert abs(issued.not_valid_after_utc.timestamp() - at - DAY) < 5
    assert issued.not_valid_before_utc.timestamp() == pytest.approx(at - 300, abs=5)
    assert list(said(issued, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert said(issued, x509.KeyUsage).digital_signature
    assert not said(issued, x509.KeyUsage).key_cert_sign
    assert not said(issued, x509.BasicConstraints).ca


def test_what_a_request_says_of_itself_is_not_believed(authority, key):
    evil = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "other"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "evil")]
    )
    csr = request_for(
        key,
        evil,
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("coordinator"), x509.RFC822Name("a@b")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    issued = x509.load_pem_x509_certificate(authority.issue_device(csr, "watch-1", at=time.time()).encode())
    assert issued.subject == cn("watch-1")
    assert not said(issued, x509.BasicConstraints).ca
    assert list(said(issued, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        said(issued, x509.SubjectAlternativeName)


def test_our_own_servers_and_clients(authority):
    at = time.time()
    server = authority.issue_server("broker", ["127.0.0.1", "localhost", "::1"], at=at)
    issued = x509.load_pem_x509_certificate(server.certificate.encode())
    assert {str(name.value) for name in said(issued, x509.SubjectAlternativeName)} == {"127.0.0.1", "localhost", "::1"}
    assert list(said(issued, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    client = x509.load_pem_x509_certificate(authority.issue_client("coordinator", at=at).certificate.encode())
    assert list(said(client, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert client.subject == cn("coordinator")
    with pytest.raises(RefusedError, match="no name of our servers"):
        authority.issue_client("watch-1", at=at)
    with pytest.raises(ContractError):
        authority.issue_device(request_for(ec.generate_private_key(ec.SECP256R1())), "coordinator", at=at)


def test_a_renewal_is_proven_by_the_present_key(authority, key):
    at, csr = time.time(), request_for(ec.generate_private_key(ec.SECP256R1()))
    present = authority.issue_device(request_for(key), "watch-1", at=at)
    signature = key.sign(renewal_statement(csr), ec.ECDSA(hashes.SHA256()))
    assert authority.check_renewal(RenewRequest(certificate=present, csr=csr, signature=signature), at=at) == "watch-1"
    with pytest.raises(TrustError):
        authority.check_renewal(RenewRequest(certificate=present, csr=csr, signature=signature[:-1] + b"x"), at=at)


def test_serial_numbers_and_revocation(authority, key):
    at = time.time()
    serials = {serial_number(authority.issue_device(request_for(key), "watch-1", at=at)) for _ in range(3)}
    assert len(serials) == 3
    revoked = dict.fromkeys(serials, at - 60.0)
    listed = x509.load_pem_x509_crl(authority.revocation_list(revoked, at=at, number=7, lifetime=DAY).encode())
    ca = x509.load_pem_x509_certificate(authority.certificate.encode())
    assert listed.is_signature_valid(ca.public_key())
    assert {entry.serial_number for entry in listed} == serials
    assert all(abs(entry.revocation_date_utc.timestamp() - at + 60) < 2 for entry in listed)
    assert said(listed, x509.CRLNumber).crl_number == 7
    assert abs(listed.next_update_utc.timestamp() - at - DAY) < 5
    empty = x509.load_pem_x509_crl(authority.revocation_list({}, at=at, number=8).encode())
    assert list(empty) == []


@pytest.mark.system
def test_a_sealed_server_certifies_nobody_and_then_goes_on(prepared, tmp_path, key):
    bao, ids = prepared
    VaultIssuer.adopt(tmp_path / "ca", vault=bao.vault(ids), mount=MOUNT)
    bao.seal()
    try:
        # a coordinator that starts now knows its authority all the same
        authority = Authority(VaultIssuer.open(tmp_path / "ca", vault=bao.vault(ids), mount=MOUNT))
        assert len(authority.fingerprint) == 64
        with pytest.raises(TransportError, match="sealed"):
            authority.issue_device(request_for(key), "watch-1", at=time.time())
    finally:
        bao.unseal()
    time.sleep(2.1)  # for so long a silent server is not asked again
    assert authority.issue_device(request_for(key), "watch-1", at=time.time())


@pytest.mark.system
@pytest.mark.parametrize(
    ("change", "what"),
    [("server_flag=true", "usage"), ("ou=evil", "subject"), ("basic_constraints_valid_for_non_ca=false", "rank")],
)
def test_a_role_that_would_certify_more_is_found_out(prepared, tmp_path, key, change, what):
    bao, ids = prepared
    authority = Authority(VaultIssuer.adopt(tmp_path / "ca", vault=bao.vault(ids), mount=MOUNT))
    before = bao.root.read(f"{MOUNT}/roles/device")["data"]
    name, value = change.split("=")
    bao.root.write_data(f"{MOUNT}/roles/device", data={**before, name: value})
    try:
        with pytest.raises(TrustError, match=what):
            authority.issue_device(request_for(key), "watch-1", at=time.time())
    finally:
        bao.root.write_data(f"{MOUNT}/roles/device", data=before)
    assert authority.issue_device(request_for(key), "watch-1", at=time.time())


@pytest.mark.system
def test_the_coordinator_cannot_make_authorities_or_roles(prepared):
    bao, ids = prepared
    vault = bao.vault(ids)
    for path in (f"{MOUNT}/root/generate/internal", f"{MOUNT}/roles/device", f"{MOUNT}/root/sign-intermediate"):
        with pytest.raises(RefusedError, match="does not let us"):
            vault.ask(lambda client, path=path: client.write_data(path, data={"common_name": "x"}), what="try")


@pytest.mark.system
def test_another_authority_is_not_adopted_silently(prepared, tmp_path):
    bao, ids = prepared
    Authority.create(tmp_path / "ca", name="default", sealer=Sealer(b"secret", cost=4), at=time.time())
    with pytest.raises(RefusedError, match="another authority"):
        VaultIssuer.adopt(tmp_path / "ca", vault=bao.vault(ids), mount=MOUNT)
    with pytest.raises(RefusedError, match=r"no authority|does not let us"):
        VaultIssuer.adopt(tmp_path / "other", vault=bao.vault(ids), mount="elsewhere")
