import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.devices.authority import Authority, public_key, serial_number
from cloud.release import Sealer
from edge.identity.keys import certificate_request
from shared.errors import ContractError, FaultError, RefusedError
from shared.ids import sha256

AT = 1_767_225_600.0
DAY = 86_400.0


@pytest.fixture
def sealer():
    return Sealer(b"secret", cost=4)


@pytest.fixture
def authority(tmp_path, sealer):
    return Authority.create(tmp_path, name="demo", sealer=sealer, at=AT)


def parse(pem):
    return x509.load_pem_x509_certificate(pem.encode())


def test_reopening(authority, tmp_path, sealer):
    again = Authority.open(tmp_path, sealer=Sealer(b"secret"))
    assert again.certificate == authority.certificate
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    with pytest.raises(RefusedError, match="already"):
        Authority.create(tmp_path, name="demo", sealer=sealer, at=AT)
    with pytest.raises(RefusedError):
        Authority.open(tmp_path, sealer=Sealer(b"wrong"))
    with pytest.raises(FaultError, match="no authority"):
        Authority.open(tmp_path / "none", sealer=sealer)


def test_a_key_from_another_backup(authority, tmp_path, sealer):
    Authority.create(tmp_path / "other", name="demo", sealer=sealer, at=AT)
    (tmp_path / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(FaultError, match="differ"):
        Authority.open(tmp_path, sealer=sealer)


def test_the_authority_certifies_leaves_only(authority):
    certificate = parse(authority.certificate)
    get = certificate.extensions.get_extension_for_class
    assert get(x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    usage = get(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert authority.fingerprint == sha256(certificate.public_bytes(Encoding.DER))


def test_device_certificates(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    csr = certificate_request(key)
    pem = authority.issue_device(csr, "wrist-1", at=AT, lifetime=10 * DAY)
    certificate = parse(pem)
    certificate.verify_directly_issued_by(parse(authority.certificate))
    assert certificate.not_valid_before_utc.timestamp() == AT - 300
    assert certificate.not_valid_after_utc.timestamp() == AT + 10 * DAY
    assert serial_number(pem) == certificate.serial_number
    assert serial_number(authority.issue_device(csr, "wrist-1", at=AT)) != serial_number(pem)
    assert public_key(csr) == public_key(certificate_request(key))
    with pytest.raises(ContractError):
        serial_number("x")


def test_no_certificate_outlives_the_authority(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = parse(authority.issue_device(certificate_request(key), "wrist-1", at=AT, lifetime=9000 * DAY))
    assert certificate.not_valid_after_utc == parse(authority.certificate).not_valid_after_utc


def test_server_certificates_name_their_hosts(authority):
    server = parse(authority.issue_server("broker", ["127.0.0.1", "::1", "broker.local"], at=AT).certificate)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["broker.local"]


def test_revocation_list(authority):
    crl = x509.load_pem_x509_crl(authority.revocation_list({7: AT - 5, 3: AT}, at=AT, number=4).encode())
    assert crl.is_signature_valid(parse(authority.certificate).public_key())
    assert [(entry.serial_number, entry.revocation_date_utc.timestamp()) for entry in crl] == [(3, AT), (7, AT - 5)]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 4
    assert list(x509.load_pem_x509_crl(authority.revocation_list({}, at=AT, number=5).encode())) == []
