import stat

import msgspec
import pytest

from cloud.release import FileKeys, Sealer
from cloud.release.sealed import Sealed
from shared.errors import RefusedError


@pytest.fixture
def sealer():
    return Sealer(b"secret", cost=4)


def test_opens_with_passphrase_and_purpose(sealer):
    data = sealer.seal(b"key", purpose="a")
    assert Sealer(b"secret").unseal(data, purpose="a") == b"key"
    assert b"key" not in data
    for other, purpose in ((Sealer(b"wrong"), "a"), (sealer, "b")):
        with pytest.raises(RefusedError, match="cannot be opened"):
            other.unseal(data, purpose=purpose)


@pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 100, b"null"])
def test_damaged_files(sealer, data):
    with pytest.raises(RefusedError):
        sealer.unseal(data, purpose="a")


def test_an_absurd_cost_is_not_paid(sealer):
    sealed = msgspec.json.decode(sealer.seal(b"key", purpose="a"), type=Sealed)
    with pytest.raises(RefusedError, match="absurd"):
        sealer.unseal(msgspec.json.encode(msgspec.structs.replace(sealed, cost=40)), purpose="a")


def test_an_empty_passphrase():
    with pytest.raises(RefusedError):
        Sealer(b"")


def test_key_files(tmp_path, sealer):
    keys = FileKeys(tmp_path, sealer=sealer)
    public = keys.ensure("releases")
    keys.ensure("root-1", offline=True)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*.key"))] == [
        "offline/root-1.key",
        "releases.key",
    ]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.rglob("*.key"))
    assert FileKeys(tmp_path, sealer=Sealer(b"secret")).ensure("releases") == public
    (tmp_path / "releases.key").rename(tmp_path / "timestamp.key")
    with pytest.raises(RefusedError):  # a renamed key is not another role's key
        FileKeys(tmp_path, sealer=sealer).signer("timestamp")


def test_an_offline_key_that_was_carried_away(tmp_path, sealer):
    keys = FileKeys(tmp_path, sealer=sealer)
    keys.ensure("root-1", offline=True)
    keys.signer("root-1")
    (tmp_path / "offline" / "root-1.key").unlink()
    assert not keys.holds("root-1")
    with pytest.raises(RefusedError, match="is not here"):
        keys.signer("root-1")
