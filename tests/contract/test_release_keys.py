"""One suite for every key ring."""

import pytest

from cloud.release import FileKeys, MemoryKeys, Sealer
from cloud.release.keys import KeyKind
from shared.errors import ContractError, RefusedError


@pytest.fixture(params=["memory", "files"])
def keys(request, tmp_path):
    return MemoryKeys() if request.param == "memory" else FileKeys(tmp_path, sealer=Sealer(b"secret", cost=4))


def test_a_key_is_made_once(keys):
    assert not keys.holds("releases")
    public = keys.ensure("releases")
    assert keys.holds("releases")
    assert keys.ensure("releases") == public == keys.signer("releases").public_key
    assert keys.ensure("timestamp") != public


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize(("kind", "scheme"), [(KeyKind.ED25519, "ed25519"), (KeyKind.P256, "ecdsa-sha2-nistp256")])
def test_signatures_verify(keys, offline, kind, scheme):
    public = keys.ensure("root-1", offline=offline, kind=kind)
    assert public.scheme == scheme
    public.verify_signature(keys.signer("root-1").sign(b"data"), b"data")


def test_a_key_that_is_away(keys):
    with pytest.raises(RefusedError, match="is not here"):
        keys.signer("root-1")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "A"])
def test_odd_names(keys, name):
    with pytest.raises(ContractError):
        keys.ensure(name)
