"""Only a known, unrevoked key names a principal."""

import pytest

from cloud.access.keys import UnauthenticatedError, authenticate, create
from cloud.audit.log import AuditLog
from cloud.store.keys import ApiKeys
from shared.errors import RefusedError


def test_a_key_names_its_owner_and_is_not_kept(database, tmp_path):
    key = create(database, "ann", at=1.0)
    assert authenticate(database, f"Bearer {key}").actor == "operator:ann"
    assert key.encode() not in (tmp_path / "db.sqlite").read_bytes()
    assert key.encode() not in (tmp_path / "db.sqlite-wal").read_bytes()


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer hlk_wrong", "hlk_wrong"])
def test_everything_else_is_refused_with_a_hint(database, header):
    create(database, "ann", at=1.0)
    with pytest.raises(UnauthenticatedError) as caught:
        authenticate(database, header)
    assert "Bearer" in caught.value.hint


def test_a_revoked_key_is_unknown(database):
    key = create(database, "ann", at=1.0)
    with database.write() as connection:
        assert ApiKeys(connection).revoke("ann", at=2.0)
        assert not ApiKeys(connection).revoke("ann", at=2.0)
    with pytest.raises(UnauthenticatedError):
        authenticate(database, f"Bearer {key}")


def test_a_key_is_on_record_and_its_name_is_taken(database):
    create(database, "ann", at=1.0)
    with pytest.raises(RefusedError, match="already"):
        create(database, "ann", at=2.0)
    with database.read() as connection:
        assert [(row.action, row.subject) for row in AuditLog(connection).rows()] == [("key.create", "ann")]
