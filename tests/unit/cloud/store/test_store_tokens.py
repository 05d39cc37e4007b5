"""Enrolment tokens are good once."""

import pytest

from cloud.store.tokens import Token, Tokens
from shared.errors import RefusedError


def token(**changes):
    return Token(**{"digest": "a" * 64, "fleet": "lab", "created_at": 1.0, "expires_at": 100.0} | changes)


def test_a_token_is_used_up(database):
    with database.write() as connection:
        Tokens(connection).add(token())
        assert Tokens(connection).take("a" * 64, device="one", at=2.0).fleet == "lab"
        with pytest.raises(RefusedError, match="was used already"):
            Tokens(connection).take("a" * 64, device="two", at=3.0)
        assert Tokens(connection).all()[0].used_by == "one"


@pytest.mark.parametrize(
    ("held", "asked", "flaw"),
    [
        (token(expires_at=2.0), {"device": "one", "at": 2.0}, "has expired"),
        (token(device="other"), {"device": "one", "at": 2.0}, "is not meant for 'one'"),
        (token(digest="b" * 64), {"device": "one", "at": 2.0}, "is unknown"),
    ],
)
def test_unusable_tokens_say_why(database, held, asked, flaw):
    with database.write() as connection:
        Tokens(connection).add(held)
        with pytest.raises(RefusedError, match=flaw) as caught:
            Tokens(connection).take("a" * 64, **asked)
        assert "token create" in caught.value.hint
        assert Tokens(connection).all()[0].used_at is None


def test_a_transaction_that_fails_gives_the_token_back(database):
    with database.write() as connection:
        Tokens(connection).add(token())
    with pytest.raises(RuntimeError), database.write() as connection:
        Tokens(connection).take("a" * 64, device="one", at=2.0)
        raise RuntimeError
    with database.write() as connection:
        assert Tokens(connection).take("a" * 64, device="one", at=2.0)
