"""A real agent's process under a manager like systemd: ready, alive, drained, gone."""

import signal

import pytest

from tests.committed import Device, Manager

pytestmark = pytest.mark.system

PIPELINE = """
[[pipelines]]
name = "wrist"
model = "toy"
source = {{ kind = "replay", path = "{0}/stream.npz", rate = 50.0, loop = true }}
"""


@pytest.fixture
async def device(tmp_path, until, running):
    import numpy as np

    np.savez(tmp_path / "stream.npz", x=np.zeros((50, 3, 10), np.float32))
    device = Device(tmp_path, until)
    await device.commit(running)
    device.add(PIPELINE.format(tmp_path))
    return device


async def test_it_says_when_it_is_ready_alive_and_stopping_and_ends_in_good_order(device, tmp_path):
    manager = Manager(tmp_path / "notify")
    with device.process(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="300000") as agent:
        assert manager.hears("READY=1")
        assert manager.hears("WATCHDOG=1")
        agent.send_signal(signal.SIGTERM)
        assert manager.hears("STOPPING=1")
        assert agent.wait(60) == 0, device.said()
    assert "Traceback" not in device.said()
    manager.close()


async def test_a_stopped_process_gives_no_sign_of_life(device, tmp_path):
    """SIGSTOP stands for whatever freezes the loop; the manager would end it."""
    manager = Manager(tmp_path / "notify")
    with device.process(NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="300000") as agent:
        assert manager.hears("READY=1")
        agent.send_signal(signal.SIGSTOP)
        while manager.hears("WATCHDOG=1", within_s=0.5):
            manager.heard.clear()  # what was on its way
        agent.send_signal(signal.SIGCONT)
        assert manager.hears("WATCHDOG=1")
        agent.send_signal(signal.SIGABRT)  # as the watchdog does
        assert agent.wait(60) == -signal.SIGABRT
    assert "most recent call first" in device.said()
    manager.close()
