"""What systemd hears, and when it hears nothing."""

import asyncio
import os
import socket
from dataclasses import dataclass

import pytest

from edge.operate.systemd import MAX_STATUS, Notifier
from edge.operate.watchdog import Watchdog, stuck
from shared.clock import VirtualClock


@pytest.fixture
def manager(tmp_path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    yield listener
    listener.close()


def heard(manager):
    said = []
    while True:
        try:
            said.append(manager.recv(4096).decode())
        except BlockingIOError:
            return said


def test_each_word_arrives(manager, tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    notifier.ready()
    notifier.alive()
    notifier.status("two\nlines " + "x" * 500)
    notifier.stopping()
    ready, alive, status, stopping = heard(manager)
    assert (ready, alive, stopping) == ("READY=1", "WATCHDOG=1", "STOPPING=1")
    assert status.startswith("STATUS=two lines xxx")
    assert "\n" not in status
    assert len(status) == len("STATUS=") + MAX_STATUS


def test_an_abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"hinterland-test-{os.getpid()}"
        listener.bind("\0" + name)
        listener.settimeout(10)
        Notifier("@" + name).ready()
        assert listener.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(tmp_path):
    Notifier().ready()
    Notifier(str(tmp_path / "nobody")).ready()


def test_a_manager_that_does_not_read_holds_nobody_up(manager, tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    for _ in range(5_000):
        notifier.alive()
    assert 0 < len(heard(manager)) < 5_000


def test_the_environment_is_read_once_and_not_handed_on(tmp_path):
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
    assert Notifier.from_environment(environ, pid=7).watchdog_s == 60
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "many"}, {"WATCHDOG_USEC": ""}],
)
def test_nobody_watches_where_it_does_not_say_so(environ):
    assert Notifier.from_environment(environ, pid=7).watchdog_s == 0


@dataclass
class Part:
    name: str
    busy_since: float | None = None


def test_only_who_holds_an_input_too_long_is_stuck():
    parts = [Part("waits"), Part("works", 95.0), Part("hangs", 10.0)]
    assert stuck(parts, at=100.0, limit_s=80.0) == ["hangs"]
    assert stuck(parts, at=90.0, limit_s=80.0) == []


def test_no_sign_of_life_while_a_pipeline_is_stuck(manager, tmp_path):
    clock, part = VirtualClock(), Part("street")
    watchdog = Watchdog(Notifier(str(tmp_path / "notify"), watchdog_s=9), [part], clock=clock, limit_s=80)
    assert watchdog.turn()
    part.busy_since = clock.monotonic()
    clock.advance(79)
    assert watchdog.turn()
    clock.advance(2)
    assert not watchdog.turn()
    part.busy_since = None
    assert watchdog.turn()
    assert heard(manager) == ["WATCHDOG=1"] * 3


async def test_a_loop_that_is_blocked_gives_none(manager, tmp_path):
    watchdog = Watchdog(Notifier(str(tmp_path / "notify"), watchdog_s=0.03), [], clock=VirtualClock(), limit_s=80)
    task = asyncio.create_task(watchdog.run())
    said = []
    while len(said) < 2:
        await asyncio.sleep(0.005)
        said += heard(manager)
    task.cancel()


async def test_where_nobody_watches_the_task_ends():
    await asyncio.wait_for(Watchdog(Notifier(), [], clock=VirtualClock(), limit_s=1).run(), 60)
