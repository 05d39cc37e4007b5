"""A coordinator's directory is made on a real Vault: signing keys, authority, passphrase, the SuperLink's token."""

import shutil

import pytest
from cryptography import x509

from cloud.keys import control_token, open_keys, passphrase
from cloud.release.repository import Repository
from cloud.settings import make_settings, read_settings
from cloud.setup import open_sealer, set_up
from cloud.wiring import build
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock
from shared.errors import TransportError
from tests.real_vault import Bao

pytestmark = pytest.mark.system

MOUNT = "hinterland-default"
SMALL = 'path "secret/data/hinterland" { capabilities = ["read"] }'


@pytest.fixture
def bao(tmp_path):
    server = Bao(tmp_path / "server")
    try:
        server.prepare(tmp_path / "ids")
        server.root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        secret = {"passphrase": "correct horse", "control": "c" * 40}
        server.root.secrets.kv.v2.create_or_update_secret("hinterland", secret, mount_point="secret")
        server.root.sys.create_or_update_policy("small", SMALL)
        server.root.write_data(f"auth/approle/role/{MOUNT}", data={"token_policies": [MOUNT, "small"]})
        yield server
    finally:
        server.stop()


def test_init_serve_and_a_seal(bao, tmp_path):
    document = {
        "keys": {"default": "vault", "authority": "vault"},
        "vault": {
            "url": bao.url,
            "role_id_file": str(tmp_path / "ids" / "role-id"),
            "secret_id_file": str(tmp_path / "ids" / "secret-id"),
        },
        "secrets": {
            "passphrase_file": "vault:secret/hinterland#passphrase",
            "control_token": "vault:secret/hinterland#control",
        },
        "superlink": {"enabled": False},
    }
    place = tmp_path / "coordinator"
    set_up(make_settings(document, {}, directory=place), clock=SystemClock(), account="nobody")
    settings = read_settings(place, {})

    # nothing secret lies in the directory but the keys of our own servers' certificates and the first API key
    assert sorted(path.name for path in place.rglob("*.key")) == [
        "api.key", "broker.key", "coordinator.key", "operator.key", "superlink.key",
    ]  # fmt: skip
    assert not (place / "keys" / "passphrase").exists()
    assert not settings.layout.control_token.exists()
    assert (passphrase(settings), control_token(settings)) == (b"correct horse", "c" * 40)
    theirs = bao.root.read(f"{MOUNT}-pki/cert/ca")["data"]["certificate"]
    ours = x509.load_pem_x509_certificate(settings.layout.ca.read_bytes())
    assert ours == x509.load_pem_x509_certificate(theirs.encode())
    x509.load_pem_x509_certificate(settings.layout.certificate("api").read_bytes()).verify_directly_issued_by(ours)
    assert set_up(settings, clock=SystemClock(), account="nobody") == []

    bus = MemoryBroker().bus("coordinator")
    coordinator = build(settings, bus=bus)
    assert len(coordinator.repository.fleets()) == 1
    bao.seal()
    try:
        with pytest.raises(TransportError, match="sealed"):
            coordinator.repository.add_fleet("other")
        assert len(coordinator.repository.fleets()) == 1
    finally:
        bao.unseal()
        coordinator.close()


def test_a_lost_directory_is_not_a_lost_key(bao, tmp_path):
    """The same keys sign on in a directory that was restored without any of them."""
    vault = {
        "url": bao.url,
        "role_id_file": str(tmp_path / "ids" / "role-id"),
        "secret_id_file": str(tmp_path / "ids" / "secret-id"),
    }
    place = tmp_path / "first"
    settings = make_settings({"keys": {"default": "vault"}, "vault": vault}, {}, directory=place)
    set_up(settings, clock=SystemClock(), account="nobody")
    shutil.copytree(place / "tuf", tmp_path / "second" / "tuf")
    again = make_settings({"keys": {"default": "vault"}, "vault": vault}, {}, directory=tmp_path / "second")
    again.layout.keys.mkdir()
    again.passphrase_file.write_text("another")
    keys = open_keys(again, sealer=open_sealer(again))
    repository = Repository.open(again.layout.tuf, keys=keys, clock=SystemClock())
    repository.add_fleet("other")
    assert "other" in repository.fleets()
