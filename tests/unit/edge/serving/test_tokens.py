"""Tokens: shown once, kept as digests, taken back at once."""

import secrets
import stat

import pytest
from typer.testing import CliRunner

from edge.main import app
from edge.serving.gate import FullError, Gate
from edge.serving.tokens import Tokens, bearer
from shared.errors import FaultError, RefusedError


@pytest.fixture
def tokens(tmp_path):
    return Tokens(Tokens.place(tmp_path / "state"))


def make(tokens, name="plc"):
    return tokens.create(name, at=0.0, draw=secrets.token_urlsafe)


def test_who_holds_it_is_known_and_the_file_does_not_tell_it(tokens, tmp_path):
    token = make(tokens)
    assert tokens.who(token) == "plc"
    file = Tokens.place(tmp_path / "state")
    assert token.removeprefix("hls_").encode() not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("token", ["", "hls_", "hls_x", "Bearer", "hls_\udcff"])
def test_others_are_nobody(tokens, token):
    make(tokens)
    assert tokens.who(token) is None


def test_another_process_may_make_and_revoke_them(tokens, tmp_path):
    agent = Tokens(Tokens.place(tmp_path / "state"))
    assert agent.who("hls_x") is None
    token = make(tokens)
    assert agent.who(token) == "plc"
    tokens.revoke("plc")
    assert agent.who(token) is None


def test_a_damaged_file_lets_nobody_in(tokens, tmp_path):
    token = make(tokens)
    assert tokens.who(token) == "plc"
    Tokens.place(tmp_path / "state").write_text("[{")
    for _ in range(2):
        with pytest.raises(FaultError, match="damaged"):
            tokens.who(token)


def test_names_are_names_and_given_once(tokens):
    make(tokens)
    with pytest.raises(RefusedError, match="there is a token"):
        make(tokens)
    with pytest.raises(RefusedError):
        make(tokens, "../x")
    with pytest.raises(RefusedError, match="no token"):
        tokens.revoke("other")


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer hls_a", "hls_a"), ("bearer  hls_a ", "hls_a"), ("Basic hls_a", ""), ("hls_a", ""), ("", "")],
)
def test_the_header(header, token):
    assert bearer({"authorization": header}) == token
    assert bearer({}) == ""


def test_the_commands(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text(f'[agent]\nstate = "{tmp_path / "state"}"\n')

    def said(*words):
        answer = CliRunner().invoke(app, ["token", *words, "--config", str(config)])
        return answer.exit_code, answer.output

    code, token = said("create", "plc")
    assert code == 0
    assert Tokens(Tokens.place(tmp_path / "state")).who(token.strip()) == "plc"
    assert said("create", "plc")[0] == 1
    assert "plc" in said("list")[1]
    assert said("revoke", "plc")[0] == 0
    assert "none" in said("list")[1]


def test_seats_are_counted_and_given_back():
    gate = Gate(most=4)
    with gate.seat("a"), gate.seat("a"), gate.seat("a"):
        with pytest.raises(FullError) as full, gate.seat("a"):
            pass
        assert full.value.own
        with gate.seat("b"):
            with pytest.raises(FullError) as full, gate.seat("c"):
                pass
            assert not full.value.own
            assert gate.inside == 4
    assert gate.inside == 0
    assert gate.refused == 2


def test_a_closed_gate_lets_nobody_in():
    gate = Gate(most=4)
    gate.close()
    with pytest.raises(FullError, match="stopping"), gate.seat(""):
        pass
