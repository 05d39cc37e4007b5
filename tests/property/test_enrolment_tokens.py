"""A token is read as it was made, or refused with a word to the operator, whatever is pasted."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.devices.enrolment import check, mint
from shared.enrolment import PREFIX, Token, encode_token, parse_token
from shared.errors import ContractError, RefusedError

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.binary(min_size=32, max_size=64), st.integers(0, 2**40))
def test_round_trip(identifier, secret, at):
    token, grant = mint(identifier=identifier, secret=secret, url="https://h:1", ca_sha256="a" * 64, at=at)
    text = encode_token(token)
    assert parse_token(f"  {text}\n") == token
    check(parse_token(text), grant, at=at)
    with pytest.raises(RefusedError):
        check(parse_token(text), grant, at=at + 3600)


@given(st.text() | st.binary().map(lambda data: PREFIX + base64.urlsafe_b64encode(data).decode()))
def test_anything_else_is_a_contract_error(text):
    with pytest.raises(ContractError) as raised:
        parse_token(text)
    assert raised.value.hint


@given(st.integers(0, 10**6), st.characters())
def test_a_mistyped_token_opens_nothing(place, character):
    token, grant = mint(identifier="t1", secret=b"s" * 32, url="https://h:1", ca_sha256="a" * 64, at=0.0)
    text = encode_token(token)
    place %= len(text)
    typed = text[:place] + character + text[place + 1 :]
    try:
        parsed = parse_token(typed)
    except ContractError:
        return
    if parsed.id == token.id and parsed.secret == token.secret:
        check(parsed, grant, at=0.0)  # the slip is elsewhere: in the address, say
        return
    with pytest.raises(RefusedError):
        check(parsed, grant, at=0.0)


@given(st.text(min_size=1))
def test_a_guessed_secret_opens_nothing(secret):
    token, grant = mint(identifier="t1", secret=b"s" * 32, url="https://h:1", ca_sha256="a" * 64, at=0.0)
    guess = Token(id="t1", secret=secret, ca_sha256=token.ca_sha256, url=token.url, expires=token.expires)
    with pytest.raises(RefusedError):
        check(guess, grant, at=0.0)
    with pytest.raises(RefusedError):
        check(token, None, at=0.0)
