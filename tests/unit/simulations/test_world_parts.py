"""Children, ports, leftovers, agents' settings."""

import socket
import subprocess
import sys
import time
import tomllib

import pytest

from edge import settings as conf
from shared.errors import FaultError, RefusedError
from simulations.world import leftovers, ports
from simulations.world.agents import AgentSpec, Replay, Video, write_settings
from simulations.world.ports import answers, free_ports, require_free
from simulations.world.process import Process

SLEEP = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]


def test_a_child_is_stopped_and_its_words_kept(tmp_path):
    child = Process("child", SLEEP, logs=tmp_path)
    child.start()
    child.wait_until(lambda: "here" in child.tail(), within_s=120)
    child.stop()
    assert child.exit_code is not None
    assert child.pid is None


def test_a_child_that_ends_early_is_named_with_its_last_words(tmp_path):
    child = Process("child", [sys.executable, "-c", "raise SystemExit('no disk')"], logs=tmp_path)
    child.start()
    with pytest.raises(FaultError, match=r"child ended with status 1(?s:.*)no disk") as fault:
        child.wait_until(lambda: False, within_s=120)
    assert "child.log" in fault.value.hint


def test_a_port_in_use_is_refused_with_a_remedy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(port)
        with pytest.raises(RefusedError, match=f"port {port} is in use") as refused:
            require_free([port])
        assert "--port-base" in refused.value.hint


def test_free_ports_differ_and_are_free():
    found = free_ports(5)
    assert len(set(found)) == 5
    require_free(found)


def test_free_ports_are_none_that_an_outgoing_connection_takes(monkeypatch):
    """Before a server listens, any client on this machine may be given its port; only the kernel's own are so given."""
    assert all(ports.LEAST <= port < ports._outgoing() for port in free_ports(20))
    monkeypatch.setattr(ports, "_outgoing", lambda: 1024)  # where they may have any, there is no better
    assert len(set(free_ports(5))) == 5


def test_a_port_in_use_is_no_free_port(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "LEAST", port)
        monkeypatch.setattr(ports, "_outgoing", lambda: port + 1)
        assert port not in free_ports(3)


def test_two_simulations_do_not_share_a_directory(tmp_path):
    with (
        leftovers.sole_use(tmp_path),
        pytest.raises(RefusedError, match="another simulation"),
        leftovers.sole_use(tmp_path),
    ):
        pass
    with leftovers.sole_use(tmp_path):
        pass


def test_what_a_killed_simulation_left_is_ended_and_nothing_else(tmp_path):
    ours, other = subprocess.Popen(SLEEP), subprocess.Popen(SLEEP)
    try:
        leftovers.record(tmp_path, [ours.pid])
        assert leftovers.clean(tmp_path) == 1
        assert ours.wait(10) == -9
        time.sleep(0.1)
        assert other.poll() is None
        assert leftovers.clean(tmp_path) == 0
    finally:
        for child in (ours, other):
            child.kill()
            child.wait()


def test_a_reused_process_id_is_not_ours(tmp_path):
    other = subprocess.Popen(SLEEP)
    try:
        (tmp_path / leftovers.PID_FILE).write_text(f'[{{"pid": {other.pid}, "started": 1.0}}]')
        assert leftovers.clean(tmp_path) == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_agent_settings_are_what_the_agent_reads(tmp_path):
    spec = AgentSpec(
        device="watch-1",
        state=tmp_path / 'a "quoted" place',
        data=tmp_path / "data",
        pipelines=[
            Replay(name="wrist", model="activity", path=tmp_path / "s.npz", rate=8.0, loop=False, remember=True),
            Video(name="street", model="detector", path=tmp_path / "v.avi", fps=2.0, snapshot=tmp_path / "s.jpg"),
        ],
        telemetry_s=2.0,
        drift_inputs=50,
    )
    path = write_settings(spec, token="hl1.secret")
    assert tomllib.loads(path.read_text())["agent"]["state"] == str(spec.state)
    settings = conf.read(path)
    assert [p.name for p in settings.pipelines] == ["wrist", "street"]
    assert settings.pipelines[0].remember
    assert (spec.state / "token").stat().st_mode & 0o777 == 0o600
