"""Which ring a key lives in, and what is said when the settings of a ring are not complete."""

import pytest

from cloud.keys import open_keys, open_vault
from cloud.release import FileKeys, MemoryKeys, Sealer
from cloud.release.generations import successor
from cloud.release.rings import GROUPS, KeysByRole, group
from cloud.settings import make_settings
from shared.errors import RefusedError

SEALER = Sealer(b"secret", cost=4)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("root-1", "root"),
        ("targets-2", "targets"),
        ("releases", "releases"),
        ("snapshot", "snapshot"),
        ("timestamp", "timestamp"),
        ("fleet-lab", "fleets"),
        ("fleet-root-2", "fleets"),
        ("model-signing", "models"),
        ("attestor", "models"),
    ],
)
def test_every_generation_of_a_key_belongs_to_the_role_of_the_first(name, wanted):
    for _ in range(3):
        assert group(name) == wanted
        name = successor(name, taken=[])


def test_a_key_is_made_and_found_in_the_ring_of_its_role():
    token, server = MemoryKeys(), MemoryKeys()
    keys = KeysByRole({"root": token}, default=server)
    for name in ("root-1", "timestamp"):
        public = keys.ensure(name)
        public.verify_signature(keys.signer(name).sign(b"data"), b"data")
        assert keys.holds(name)
    assert (token.holds("root-1"), token.holds("timestamp")) == (True, False)
    assert (server.holds("root-1"), server.holds("timestamp")) == (False, True)
    token.remove("root-1")
    assert not keys.holds("root-1")


def test_without_a_word_all_keys_are_files(tmp_path):
    assert isinstance(open_keys(make_settings({}, {}, directory=tmp_path), sealer=SEALER), FileKeys)


@pytest.mark.parametrize("name", GROUPS)
def test_each_role_can_be_set_by_the_environment(tmp_path, name):
    settings = make_settings({}, {f"HINTERLAND_KEYS_{name.upper()}": "pkcs11"}, directory=tmp_path)
    with pytest.raises(RefusedError, match="names no module") as caught:
        open_keys(settings, sealer=SEALER)
    assert "library" in caught.value.hint


def test_a_ring_that_nobody_knows(tmp_path):
    with pytest.raises(RefusedError, match="a setting is wrong"):
        make_settings({"keys": {"root": "drawer"}}, {}, directory=tmp_path)


@pytest.mark.parametrize(
    ("vault", "said"),
    [
        ({}, "url, role_id_file, secret_id_file"),
        ({"url": "https://vault:8200", "role_id_file": "r"}, "does not say secret_id_file"),
        ({"url": "http://vault:8200", "role_id_file": "r", "secret_id_file": "s"}, "in the clear"),
        ({"url": "http://127.0.0.1.evil:8200", "role_id_file": "r", "secret_id_file": "s"}, "in the clear"),
    ],
)
def test_an_incomplete_or_careless_vault(tmp_path, vault, said):
    settings = make_settings({"keys": {"releases": "vault"}, "vault": vault}, {}, directory=tmp_path)
    with pytest.raises(RefusedError, match=said) as caught:
        open_vault(settings)
    assert caught.value.hint


def test_without_credentials_nobody_is_asked(tmp_path):
    vault = {
        "url": "http://127.0.0.1:9", "role_id_file": str(tmp_path / "r"), "secret_id_file": str(tmp_path / "s"),
    }  # fmt: skip
    settings = make_settings({"keys": {"releases": "vault"}, "vault": vault}, {}, directory=tmp_path)
    with pytest.raises(RefusedError, match="no credential in"):
        open_keys(settings, sealer=SEALER).ensure("releases")


def test_a_token_without_its_driver(tmp_path):
    document = {"keys": {"root": "pkcs11"}, "pkcs11": {"module": str(tmp_path / "none.so")}}
    keys = open_keys(make_settings(document, {}, directory=tmp_path), sealer=SEALER)
    assert not keys.holds("root-1")
    with pytest.raises(RefusedError, match="no PKCS#11 module") as caught:
        keys.signer("root-1")
    assert "driver" in caught.value.hint
