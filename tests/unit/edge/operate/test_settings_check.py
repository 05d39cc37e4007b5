"""Settings that are well formed and still wrong."""

import os

import pytest
from typer.testing import CliRunner

from edge import settings as conf
from edge.main import app
from edge.operate.settings_check import find_faults


@pytest.fixture
def config(tmp_path):
    """A device that has a token, and one source that is there."""
    (tmp_path / "token").write_text("t")
    (tmp_path / "film.avi").write_text("x")
    path = tmp_path / "agent.toml"
    path.write_text(f"""
        [agent]
        state = "{tmp_path / "state"}"
        token_file = "{tmp_path / "token"}"
        [[pipelines]]
        name = "street"
        model = "detector"
        source = {{ kind = "video", path = "{tmp_path / "film.avi"}" }}
    """)
    return path


def checked(config):
    return CliRunner().invoke(app, ["check", "--config", str(config)])


def add(config, text):
    config.write_text(config.read_text() + text)


def test_a_good_file_says_what_feeds_what(config):
    answer = checked(config)
    assert answer.exit_code == 0, answer.output
    assert "street: video feeds detector" in answer.output


def test_a_misspelt_field_ends_with_one_and_what_was_meant(config):
    add(config, "[update]\nchek_s = 1\n")
    answer = checked(config)
    assert answer.exit_code == 1
    assert "update.chek_s: is no setting; did you mean `check_s`?" in answer.output


def test_two_of_one_name_and_files_that_are_not_there(config, tmp_path):
    add(
        config,
        f"""
        [[pipelines]]
        name = "street"
        model = "detector"
        snapshot = "{tmp_path}/nowhere/now.jpg"
        source = {{ kind = "video", path = "{tmp_path}/gone.avi" }}
        """,
    )
    (tmp_path / "token").unlink()
    fields = [fault.field for fault in find_faults(conf.read(config))]
    assert fields == ["pipelines", "agent.token_file", "pipelines[1].source.path", "pipelines[1].snapshot"]
    assert checked(config).exit_code == 1


def test_nothing_is_written(config, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    checked(config)
    assert sorted(tmp_path.rglob("*")) == before


def camera(config, **more):
    source = ", ".join(f'{name} = "{value}"' for name, value in more.items())
    add(config, f'\n[[pipelines]]\nname = "gate"\nmodel = "detector"\nsource = {{ kind = "rtsp", {source} }}\n')


def test_a_camera_s_credentials_are_looked_at_and_not_said(config, tmp_path, monkeypatch):
    secret = tmp_path / "cam"
    secret.write_text("owner:s3cret")
    secret.chmod(0o644)
    camera(config, url="rtsp://10.0.0.9/stream", credentials_file=secret)
    answer = checked(config)
    assert answer.exit_code == 1
    assert f"pipelines[1].source: others may read {secret}. chmod 600 {secret}." in answer.output
    secret.chmod(0o600)
    assert checked(config).exit_code == 0


def test_credentials_from_the_environment(config, monkeypatch):
    camera(config, url="rtsp://10.0.0.9/stream", credentials_env="GATE")
    assert "the environment has no GATE" in checked(config).output
    monkeypatch.setenv("GATE", "owner:s3cret")
    assert checked(config).exit_code == 0


@pytest.mark.parametrize(
    "url", ["rtsp://owner:s3cret@10.0.0.9/x", "http://10.0.0.9/s3cret", "rtsp:///s3cret", "s3cret"]
)
def test_an_address_that_is_none_is_refused_and_not_said(config, url):
    camera(config, url=url)
    answer = checked(config)
    assert answer.exit_code == 1
    assert "pipelines[1].source.url" in answer.output
    assert "s3cret" not in answer.output


def test_motion_needs_pictures(config, tmp_path):
    add(
        config,
        f'[[pipelines]]\nname = "w"\nmodel = "m"\nsource = {{ kind = "replay", path = "{config}" }}\nmotion = {{}}\n',
    )
    assert "pipelines[1].motion: there are no pictures in a recording" in checked(config).output


def test_processors_that_are_not_there_or_have_no_process_to_bind(config):
    add(config, "[inference]\ncpus = [0, 4095]\n")
    answer = checked(config)
    assert answer.exit_code == 1
    assert "inference.cpus: [4095] are not there" in answer.output
    add(config, 'isolation = "none"\n')
    config.write_text(config.read_text().replace("0, 4095", str(min(os.sched_getaffinity(0)))))
    assert "binds models' own processes" in checked(config).output


def test_only_frames_can_be_left_out(config):
    source = f'{{ kind = "replay", path = "{config}" }}'
    add(config, f'[[pipelines]]\nname = "w"\nmodel = "m"\nlatency_ms = 100.0\nsource = {source}\n')
    assert "pipelines[1].latency_ms: there are no frames that could be left out" in checked(config).output
