"""Only a known, good key names a principal; what it costs is paid once, and a revoked one is out at once."""

import time

import pytest

from cloud.access import keys
from cloud.access.keys import KeyDesk, create, digest, new_key, revoke
from cloud.access.principal import UnauthenticatedError
from cloud.audit.log import AuditLog
from cloud.store.keys import ApiKey, ApiKeys
from cloud.store.rows import UnknownError
from shared.clock import VirtualClock
from shared.errors import ContractError, RefusedError


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def desk(database, clock):
    return KeyDesk(database, clock=clock, tenant="acme")


def test_a_key_names_its_owner_and_is_not_kept(database, desk, tmp_path):
    key = create(database, "ann", at=1.0, roles=["viewer"], fleets=["lab"])
    found = desk.principal(key)
    assert (found.actor, found.tenant, found.roles, found.fleets) == ("operator:ann", "acme", ("viewer",), ("lab",))
    secret = key.split("_", 2)[2].encode()
    held = b"".join(path.read_bytes() for path in tmp_path.glob("db.sqlite*"))
    assert secret not in held
    assert b"$argon2id$" in held


@pytest.mark.parametrize("wrong", ["", "hlk_", "hlk_wrong", "Bearer", "hlk_" + "0" * 16 + "_", "x" * 100_000])
def test_everything_else_is_refused_with_a_hint(database, desk, wrong):
    create(database, "ann", at=1.0)
    with pytest.raises(UnauthenticatedError) as caught:
        desk.principal(wrong)
    assert "Bearer" in caught.value.hint


def test_the_id_alone_another_secret_and_what_is_kept_open_nothing(database, desk):
    key = create(database, "ann", at=1.0)
    identifier = key.split("_")[1]
    with database.read() as connection:
        (held,) = ApiKeys(connection).all()
    other = new_key().rpartition("_")[2]
    for wrong in (identifier, held.digest, held.hash, f"hlk_{identifier}_{other[:43]}", key[:-1], key + "x"):
        with pytest.raises(UnauthenticatedError):
            desk.principal(wrong)
    assert desk.principal(key).name == "ann"


def test_a_key_of_an_older_directory_goes_on_as_an_administrators(database, desk):
    old = "hlk_" + "a" * 43
    with database.write() as connection:
        ApiKeys(connection).add(ApiKey(digest=digest(old), name="old", created_at=1.0))
    assert desk.principal(old).roles == ("admin",)
    with pytest.raises(UnauthenticatedError):
        desk.principal(old[:-1] + "b")


def test_a_revoked_key_is_out_at_once_although_it_was_proven(database, desk, clock):
    create(database, "boss", at=1.0)
    key = create(database, "ann", at=1.0)
    assert desk.principal(key).name == "ann"
    revoke(database, "ann", at=2.0, by="operator:boss", reason="left")
    with pytest.raises(UnauthenticatedError):
        desk.principal(key)
    assert revoke(database, "ann", at=3.0, by="operator:boss").revoked_at == 2.0
    with database.read() as connection:
        told = [(row.actor, row.subject, row.reason) for row in AuditLog(connection).rows() if "revoke" in row.action]
    assert told == [("operator:boss", "ann", "left")]


def test_the_last_administrator_cannot_be_shut_out(database):
    create(database, "boss", at=1.0)
    create(database, "ann", at=1.0, roles=["viewer"])
    with pytest.raises(RefusedError, match="last administrator"):
        revoke(database, "boss", at=2.0, by="operator:boss")
    with pytest.raises(UnknownError):
        revoke(database, "nobody", at=2.0, by="operator:boss")


def test_a_key_expires_and_tells_when_it_was_used(database, desk, clock):
    key = create(database, "ann", at=clock.now(), expires_at=clock.now() + 100)
    desk.principal(key)
    first = clock.now()
    clock.advance(30)
    desk.principal(key)
    with database.read() as connection:
        assert ApiKeys(connection).named("ann").used_at == first  # to the minute, so that not every request writes
    clock.advance(69)
    desk.principal(key)
    clock.advance(1)
    with pytest.raises(UnauthenticatedError):
        desk.principal(key)


def test_a_proof_is_remembered_and_the_memory_is_bounded(database, desk, monkeypatch):
    monkeypatch.setattr(keys, "REMEMBERED", 1)
    first, second = (create(database, name, at=1.0) for name in ("ann", "bob"))
    began = time.perf_counter()
    desk.principal(first)
    slow = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(10):
        desk.principal(first)
    assert (time.perf_counter() - began) / 10 < slow
    desk.principal(second)
    assert len(desk._proven) == 1
    assert desk.principal(first).name == "ann"


def test_a_key_is_on_record_and_its_name_is_taken(database):
    create(database, "ann", at=1.0)
    with pytest.raises(RefusedError, match="already"):
        create(database, "ann", at=2.0)
    with database.read() as connection:
        assert [(row.action, row.subject) for row in AuditLog(connection).rows()] == [("key.create", "ann")]


@pytest.mark.parametrize(("roles", "fleets"), [(["king"], ["*"]), ([], ["*"]), (["admin"], []), (["admin"], ["A/B"])])
def test_roles_and_fleets_are_checked(database, roles, fleets):
    with pytest.raises(ContractError):
        create(database, "ann", at=1.0, roles=roles, fleets=fleets)
