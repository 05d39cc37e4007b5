import os

import pytest

from shared.errors import RefusedError
from simulations.broker import find_mosquitto


def executable(path):
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_an_unpacked_broker_comes_first(tmp_path):
    unpacked = executable(tmp_path / "usr/sbin/mosquitto")
    assert find_mosquitto(tmp_path) == unpacked


def test_without_a_broker_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RefusedError) as raised:
        find_mosquitto()
    assert "apt-get install mosquitto" in raised.value.hint


def test_on_the_path(tmp_path, monkeypatch):
    found = executable(tmp_path / "bin/mosquitto")
    monkeypatch.setenv("PATH", f"{found.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.executable", str(tmp_path / "none" / "python"))
    assert find_mosquitto() == found
