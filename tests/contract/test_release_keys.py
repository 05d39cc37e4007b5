"""One suite for every key ring."""

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError

from cloud.release import FileKeys, MemoryKeys, Sealer
from cloud.release.keys import KeyKind
from cloud.release.pkcs11 import Pkcs11Keys
from cloud.release.vault import VaultKeys
from shared.errors import ContractError, RefusedError
from tests.real_vault import Bao

SCHEMES = {KeyKind.ED25519: "ed25519", KeyKind.P256: "ecdsa-sha2-nistp256"}

REAL = [pytest.param(name, marks=pytest.mark.system) for name in ("vault", "pkcs11")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A real server, prepared as the operators' page tells; its mount is emptied by using fresh ones."""
    home = tmp_path_factory.mktemp("bao")
    bao = Bao(home / "server")
    try:
        bao.prepare(home / "ids")
        yield bao, home / "ids"
    finally:
        bao.stop()


@pytest.fixture
def vault_keys(prepared):
    bao, ids = prepared
    yield VaultKeys(bao.vault(ids), mount="hinterland-default")
    bao.operator("secrets", "disable", "hinterland-default")
    bao.operator("secrets", "enable", "-path=hinterland-default", "transit")


@pytest.fixture(params=["memory", "files", *REAL])
def keys(request, tmp_path):
    match request.param:
        case "memory":
            return MemoryKeys()
        case "files":
            return FileKeys(tmp_path, sealer=Sealer(b"secret", cost=4))
        case "vault":
            return request.getfixturevalue("vault_keys")
    return request.getfixturevalue("soft_token").ring()


def test_a_key_is_made_once(keys):
    assert not keys.holds("releases")
    public = keys.ensure("releases")
    assert keys.holds("releases")
    assert keys.ensure("releases") == public == keys.signer("releases").public_key
    assert keys.ensure("timestamp") != public


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("kind", list(KeyKind))
def test_signatures_verify(keys, offline, kind):
    public = keys.ensure("root-1", offline=offline, kind=kind)
    # tokens know one kind
    assert public.scheme == SCHEMES[KeyKind.P256 if isinstance(keys, Pkcs11Keys) else kind]
    public.verify_signature(keys.signer("root-1").sign(b"data"), b"data")


def test_a_signature_is_over_these_bytes_by_this_key(keys):
    for kind in KeyKind:
        first, second = keys.ensure(f"one-{kind}", kind=kind), keys.ensure(f"two-{kind}", kind=kind)
        signature = keys.signer(f"one-{kind}").sign(b"data")
        first.verify_signature(signature, b"data")
        for key, data in ((first, b"date"), (second, b"data")):
            with pytest.raises(UnverifiedSignatureError):
                key.verify_signature(signature, data)


def test_a_key_that_is_away(keys):
    with pytest.raises(RefusedError, match="is not here"):
        keys.signer("root-1")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "A"])
def test_odd_names(keys, name):
    with pytest.raises(ContractError):
        keys.ensure(name)


@pytest.mark.system
def test_a_second_process_finds_the_same_key(soft_token, prepared, vault_keys):
    bao, ids = prepared
    assert soft_token.ring().ensure("root-1") == soft_token.ring().ensure("root-1")
    assert vault_keys.ensure("releases") == VaultKeys(bao.vault(ids), mount="hinterland-default").ensure("releases")


@pytest.mark.system
def test_the_private_half_does_not_leave_the_token(soft_token):
    import PyKCS11

    soft_token.ring().ensure("root-1")
    library = PyKCS11.PyKCS11Lib()
    library.load(str(soft_token.module))
    session = library.openSession(soft_token.slot)
    session.login(soft_token.pin)
    (private,) = session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY)])
    wanted = [PyKCS11.CKA_SENSITIVE, PyKCS11.CKA_EXTRACTABLE, PyKCS11.CKA_LOCAL]
    assert session.getAttributeValue(private, wanted) == [True, False, True]
    assert session.getAttributeValue(private, [PyKCS11.CKA_VALUE]) in ([None], [()])
    session.closeSession()
