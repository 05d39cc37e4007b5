"""What watches beside a broker signals it when its files changed, and never a stranger."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from cloud.devices.broker import BrokerFiles
from cloud.devices.reload import Reload
from tests.real_broker import Certificates

WAITING = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: print("again", flush=True))
print("ready", flush=True)
while True: signal.pause()
"""


@pytest.fixture
def broker():
    """A process that says when it is told to read its files again."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.fixture
def files(tmp_path, broker):
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("broker")
    (tmp_path / "access").write_text("user a\n")
    (tmp_path / "pid").write_text(f"{broker.pid}\n")
    process = tmp_path / "proc" / str(broker.pid)
    process.mkdir(parents=True)
    (process / "comm").write_text("mosquitto\n")
    return BrokerFiles(
        ca=certificates.ca, certificate=certificate, key=key, access=tmp_path / "access", pid=tmp_path / "pid"
    )


def test_a_change_is_told_once(files, broker, tmp_path):
    watch = Reload(files, processes=tmp_path / "proc")
    assert watch.look()  # what it read before we came is not known
    assert broker.stdout.readline() == "again\n"
    assert not watch.look()
    files.access.write_text("user b\n")
    assert watch.look()
    assert broker.stdout.readline() == "again\n"
    assert not watch.look()


def test_a_certificate_waits_for_its_key(files, broker, tmp_path):
    watch = Reload(files, processes=tmp_path / "proc")
    assert watch.look()
    before = files.key.read_bytes()
    (tmp_path / "later").mkdir()
    certificate, key = Certificates(tmp_path / "later").issue("broker")
    files.key.write_bytes(key.read_bytes())
    assert not watch.look(), "a key without its certificate would leave the broker without TLS"
    files.certificate.write_bytes(certificate.read_bytes())
    assert watch.look()
    files.key.write_bytes(before)
    assert not watch.look()


@pytest.mark.parametrize("said", ["", "x", "-1", "999999999"])
def test_without_a_broker_nobody_is_signalled_and_it_is_told_when_it_is_there(files, broker, tmp_path, said):
    pid = files.pid.read_text()
    files.pid.write_text(said)
    watch = Reload(files, processes=tmp_path / "proc")
    assert not watch.look()
    files.pid.write_text(pid)
    assert watch.look()


def test_a_stranger_under_the_brokers_number_is_left_alone(files, broker, tmp_path):
    (tmp_path / "proc" / str(broker.pid) / "comm").write_text("python\n")
    assert not Reload(files, processes=tmp_path / "proc").look()
    assert not Reload(replace(files, pid=None), processes=tmp_path / "proc").look()
    broker.send_signal(signal.SIGHUP)
    assert broker.stdout.readline() == "again\n", "the only signal is this test's own"
