"""Enrolment tokens are good for one key."""

import pytest

from cloud.store.tokens import TokenRow, Tokens

TOKEN = TokenRow(id="t1", secret_sha256="a" * 64, fleet="lab", device="one", created_at=1.0, expires_at=100.0)


def test_the_first_key_wins_and_may_come_again(database):
    with database.write() as connection:
        Tokens(connection).add(TOKEN)
        assert Tokens(connection).take("t1", key="k1", at=2.0)
        assert not Tokens(connection).take("t1", key="k2", at=3.0)
        assert Tokens(connection).take("t1", key="k1", at=4.0)
        held = Tokens(connection).find("t1")
        assert (held.used_at, held.used_by) == (2.0, "k1")


def test_nobody_takes_an_unknown_token(database):
    with database.write() as connection:
        assert not Tokens(connection).take("t1", key="k1", at=2.0)
        assert Tokens(connection).find("t1") is None


def test_a_transaction_that_fails_gives_the_token_back(database):
    with database.write() as connection:
        Tokens(connection).add(TOKEN)
    with pytest.raises(RuntimeError), database.write() as connection:
        Tokens(connection).take("t1", key="k1", at=2.0)
        raise RuntimeError
    with database.write() as connection:
        assert Tokens(connection).take("t1", key="k2", at=2.0)
