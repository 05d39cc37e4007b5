"""A model that took its process over: the kernel refuses what it tries, the agent and its keys are untouched."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest

from edge.inference.confine import FILES, USER, WANTED, lacking
from edge.inference.host import ModelHost
from edge.inference.isolated import IsolatedSession
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import infer
from edge.pipelines.tasks.classify import classify
from shared.clock import SystemClock
from shared.errors import FaultError
from tests.hostile_model import attack, isolation
from tests.models import SHAPE, place

X = np.zeros((1, 6, 100), np.float32)
ROOT = Path(__file__).parents[2]
Start = Callable[..., IsolatedSession]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process whose model is an attack."""
    sessions: list[IsolatedSession] = []

    def make(what: str, **bounds: float) -> IsolatedSession:
        session = IsolatedSession(
            what.encode(),
            isolation(**bounds),  # type: ignore[arg-type]  # whole numbers where it wants them
            clock=SystemClock(),
            random=Random(1),
        )
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Where a key lies; even its directory is open to all, so that only the confinement protects it."""
    path = tmp_path / "device.key"
    path.write_bytes(b"key")
    path.chmod(0o666)
    return path


def test_a_process_that_computes_only_answers(start: Start) -> None:
    assert start("nothing").run(X)[0].shape == (1, 2)


def test_all_that_this_kernel_offers_holds_and_the_rest_is_named(start: Start) -> None:
    held = start("nothing").confinement
    landlock = subprocess.run(
        [sys.executable, "-c", "from edge.inference.landlock import allow_nothing as a; print(a())"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = set(WANTED) - ({FILES} if landlock.stdout == "0\n" else set())
    assert set(held) == expected
    assert set(lacking(held)) == set(WANTED) - expected


@pytest.mark.parametrize("what", ["read", "write"])
def test_files_stay_closed(start: Start, secret: Path, what: str) -> None:
    attack(what, str(secret))  # the same code outside reaches it
    before = secret.read_bytes()
    with pytest.raises(FaultError, match=r"PermissionError: \[Errno 1\]"):
        start(f"{what}:{secret}").run(X)
    assert secret.read_bytes() == before


@pytest.mark.parametrize("what", ["connect", "fork"])
def test_no_network_and_no_processes(start: Start, what: str) -> None:
    attack(what)
    with pytest.raises(FaultError, match=r"PermissionError: \[Errno 1\]"):
        start(what).run(X)


def test_no_threads_where_the_model_needs_none(start: Start) -> None:
    attack("thread")
    with pytest.raises(FaultError, match="can't start new thread"):
        start("thread").run(X)


@pytest.mark.parametrize(
    "what",
    ["execute:/bin/true", "become root", "outlive", "run code", f"share:{10 << 30}", "kill:{agent}", "peek:{agent}"],
)
def test_other_rights_are_gone(start: Start, what: str) -> None:
    session = start(what.format(agent=os.getpid()))
    with pytest.raises(FaultError, match=r"PermissionError: \[Errno 1\]"):
        session.run(X)
    with pytest.raises(FaultError, match="PermissionError"):  # refused, not killed: the process is asked again
        session.run(X)


def test_the_agents_memory_cannot_be_cut_short(start: Start) -> None:
    session = start("cut")
    with pytest.raises(FaultError, match=r"\[Errno (1|9|22)\]"):
        session.run(X)


def test_ten_gigabytes_are_refused_and_named(start: Start) -> None:
    with pytest.raises(FaultError, match="needs more than 256 MiB and was killed"):
        start(f"allocate:{10 << 30}").run(X)
    assert start(f"allocate:{100 << 20}").run(X)  # what it may have it gets


@pytest.mark.parametrize("what", ["hang", "spin"])
def test_a_hang_is_killed_at_its_deadline(start: Start, what: str) -> None:
    session = start(what, answer_s=0.3)
    pid, began = session.pid, time.monotonic()
    with pytest.raises(FaultError, match=r"no answer within 0.3 s and was killed"):
        session.run(X)
    assert time.monotonic() - began < 60
    _gone(pid)


@pytest.mark.parametrize(
    ("what", "reason"), [("crash", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", "status 0")], ids=str
)
def test_a_crash_is_noticed_at_once(start: Start, what: str, reason: str) -> None:
    session = start(what, answer_s=30)
    began = time.monotonic()
    with pytest.raises(FaultError, match=reason):
        session.run(X)
    assert time.monotonic() - began < 25  # and not after its 30 s


@pytest.mark.parametrize("what", ["garble", "boast"])
def test_an_answer_in_another_form_ends_the_process(start: Start, what: str) -> None:
    session = start(what)
    pid = session.pid
    with pytest.raises(FaultError, match=r"in no known form|more than fits"):
        session.run(X)
    _gone(pid)


@pytest.mark.parametrize("shape", ["[0]", "[1]", "[1, 9]", "[2, 2]", "[1, 2, 3]", "[]"])
async def test_a_model_that_changes_its_mind_is_an_error_of_its_release_only(tmp_path: Path, shape: str) -> None:
    host = ModelHost(IsolatedSession.loader(isolation(), clock=SystemClock(), random=Random(1)))
    await host.activate("toy", *place(tmp_path, f"later:{shape}".encode()))
    served = host.serving("toy")
    assert served is not None
    window = Sample(id="s:0", x=np.zeros(SHAPE, np.float32), at=0.0, ready=0.0)
    assert infer(served, [window], classify).fault == ""
    outcome = infer(served, [window], classify)
    assert outcome.answers == [None]
    assert "do not fit a classification" in outcome.fault
    await host.close()


def test_nothing_of_the_agents_environment_or_descriptors_is_there(
    start: Start, monkeypatch: pytest.MonkeyPatch, secret: Path
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    with secret.open("rb") as file:
        os.set_inheritable(file.fileno(), True)
        pid = start("nothing").pid
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        held = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    assert b"TOKEN" not in environment
    assert not [each for each in held if not each.startswith(("/dev/null", "socket:", "/memfd:tensors"))]


def test_a_process_dies_with_its_agent() -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", _AGENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert agent.stdout is not None
    pid = int(agent.stdout.readline())
    agent.kill()
    agent.wait()
    agent.stdout.close()
    _gone(pid)


def test_landlock_alone_refuses_files(secret: Path) -> None:
    """The second fence, which stands where seccomp does not."""
    code = f"from edge.inference.landlock import allow_nothing as a; v = a(); print(v); open({str(secret)!r})"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    held = said.stdout != "0\n"
    assert ("PermissionError: [Errno 13]" in said.stderr) is held


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to leave")
def test_root_is_left(start: Start) -> None:
    session = start("nothing")
    status = Path(f"/proc/{session.pid}/status").read_text()
    assert USER in session.confinement
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "CapEff:\t0000000000000000" in status


_AGENT = """
import time
from random import Random
from edge.inference.isolated import IsolatedSession
from shared.clock import SystemClock
from tests.hostile_model import isolation
session = IsolatedSession(b"nothing", isolation(), clock=SystemClock(), random=Random(1))
print(session.pid, flush=True)
time.sleep(60)
"""


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    with suppress(FileNotFoundError, ProcessLookupError):
        while "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text():
            assert time.monotonic() < deadline, f"process {pid} is still there"
            time.sleep(0.01)
