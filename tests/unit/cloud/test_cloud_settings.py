"""Settings come from the directory's file, and the environment has the last word."""

import pytest

from cloud.settings import Settings, directory_from, make_settings, read_settings, render_settings
from shared.errors import ContractError, RefusedError


def test_what_is_written_is_read(tmp_path):
    settings = make_settings(
        {"identity": {"tenant": "acme", "fleets": ["wards", "gates"]}, "loop": {"every_s": 0.5}}, {}, directory=tmp_path
    )
    (tmp_path / "coordinator.toml").write_text(render_settings(settings))
    assert read_settings(tmp_path, {}) == settings
    assert settings.fleet == "wards"


def test_the_environment_has_the_last_word(tmp_path):
    environ = {
        "HINTERLAND_API_PORT": "9443",
        "HINTERLAND_API_PUBLIC_HOST": "hq.example",
        "HINTERLAND_IDENTITY_FLEETS": "a,b",
        "HINTERLAND_SUPERLINK_ENABLED": "false",
        "HINTERLAND_STORE_URL": "postgresql+psycopg://db/x",
    }
    settings = make_settings({"api": {"port": 1}}, environ, directory=tmp_path)
    assert settings.url == "https://hq.example:9443"
    assert settings.identity.fleets == ["a", "b"]
    assert not settings.superlink.enabled
    assert settings.store.url.startswith("postgresql")


@pytest.mark.parametrize(
    "document",
    [
        {"api": {"port": "many"}},
        {"api": {"colour": 1}},
        {"colours": {"a": 1}},
        {"identity": {"fleets": []}},
    ],
)
def test_wrong_settings_are_refused_with_a_remedy(tmp_path, document):
    with pytest.raises(RefusedError) as caught:
        make_settings(document, {}, directory=tmp_path)
    assert caught.value.hint


def test_names_are_checked(tmp_path):
    with pytest.raises(ContractError):
        make_settings({"identity": {"tenant": "A/B"}}, {}, directory=tmp_path)


def test_a_directory_of_nobody_says_how_to_make_one(tmp_path):
    with pytest.raises(RefusedError) as caught:
        read_settings(tmp_path, {})
    assert "hinterland-coordinator init" in caught.value.hint


def test_every_setting_has_a_group_and_a_default():
    assert Settings().layout.directory == directory_from({})
