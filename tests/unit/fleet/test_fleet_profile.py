"""Options beat the environment, which beats the file; what is missing says what to do."""

import pytest

from fleet.profile import Choice, choose, default_path
from shared.errors import RefusedError

PROFILE = """
url = "https://file:1"
ca = "/file/ca.crt"
key = "hlk_file"

[broker]
host = "127.0.0.1"
port = 8883
certificate = "/c"
key = "/k"
"""


@pytest.fixture
def home(tmp_path):
    path = default_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(PROFILE)
    return tmp_path


def test_the_file_alone(home):
    found = choose(Choice(), environ={}, home=home)
    assert (found.url, found.ca, found.key, found.broker.port) == ("https://file:1", "/file/ca.crt", "hlk_file", 8883)


def test_each_value_has_its_own_precedence(home):
    environ = {"HINTERLAND_URL": "https://env:1", "HINTERLAND_KEY": "hlk_env"}
    found = choose(Choice(url="https://option:1"), environ=environ, home=home)
    assert (found.url, found.key, found.ca) == ("https://option:1", "hlk_env", "/file/ca.crt")


def test_a_named_profile_instead_of_the_default(home, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('url = "https://other:1"\nkey = "k"')
    assert choose(Choice(profile=other), environ={}, home=home).url == "https://other:1"
    assert choose(Choice(), environ={"HINTERLAND_PROFILE": str(other)}, home=home).url == "https://other:1"


@pytest.mark.parametrize("text", ['url = "https://x"', 'key = "k"', "url =", "url = 3", "\x00"])
def test_half_a_profile_says_what_is_missing(tmp_path, text):
    path = tmp_path / "cli.toml"
    path.write_text(text)
    with pytest.raises(RefusedError) as caught:
        choose(Choice(profile=path), environ={}, home=tmp_path)
    assert caught.value.hint


def test_no_profile_at_all(tmp_path):
    with pytest.raises(RefusedError, match="where the coordinator is"):
        choose(Choice(), environ={}, home=tmp_path)
    with pytest.raises(RefusedError, match="there is no profile"):
        choose(Choice(profile=tmp_path / "none.toml"), environ={}, home=tmp_path)
