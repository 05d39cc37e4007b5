"""One life of a model's process, as the agent sees it: started, asked, and ended without being asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.inference.channel import MAX_MESSAGE, SLOTS, Arena, Kind, make_arena, read_text, sides
from edge.inference.runtime import Array
from edge.inference.worker import Order
from shared import TELEMETRY_OFF
from shared.bundle import Runtime
from shared.errors import FaultError, TrustError

ENTRY = "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from edge.inference.worker import main; main()"
"""The agent's own modules and libraries, and nothing that the environment or a directory adds (`python -I -S`)."""

_GRACE_S = 2.0
"""How long a process that hung up may take to be gone, before it is killed."""

# The kernel ties "dies with its parent" to the thread that started it (prctl(2), PR_SET_PDEATHSIG): one thread that
# lives as long as the agent starts all of them, and waits for those that were killed.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What a model's process may have, and how long it may take."""

    memory_mib: int = 512
    """Address space for the model, beyond what Python and the runtime take."""

    threads: int = 1
    """Threads within one operator."""

    load_s: float = 60.0
    """For starting the process, checking and loading the model."""

    answer_s: float = 5.0
    """For each batch."""

    nice: int = 0
    """Priority of the process, as nice(1) has it: a challenger must not take the processor from what serves."""

    cpus: Sequence[int] = ()
    """Processors it may use, by the kernel's numbers; empty for all that the agent may."""

    user: int = 65534
    """Uid and gid of the process when the agent is root; `nobody` by default."""

    runtime: Runtime = Runtime.ONNXRUNTIME
    """What executes the model there."""

    entry: Sequence[str] = ("-c", ENTRY, os.pathsep)
    """Arguments of the interpreter; tests drive hostile processes with it."""


class Process:
    """A started process. Any thread may run it; it may be gone when a method has raised `FaultError`.

    While it works on one batch the next lies in the other slot already: it never waits for the agent between two.
    """

    def __init__(self, model: int, isolation: Isolation) -> None:
        """Start it on the model whose bytes lie in descriptor `model`.

        Raises:
            TrustError: the model must not be parsed.
            FaultError: it does not load, in time or within its memory; or no process can be started.
        """
        self._isolation = isolation
        self._turns = threading.Condition()  # guards the four below, and that no question goes to a closed socket
        self._asked = self._answered = 0  # batches, so far
        self._held: set[int] = set()  # slots whose batch or answer is still of use
        self._over = False
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = mine
        arena = make_arena()
        try:
            self._arena = Arena(arena)
            self._child = _STARTER.submit(_spawn, isolation, its.fileno(), model, arena).result()
        except BaseException as error:
            mine.close()
            if hasattr(self, "_arena"):
                self._arena.close()
            if isinstance(error, OSError):
                raise FaultError(f"no process for the model: {error}") from error
            raise
        finally:
            its.close()
            os.close(arena)
        self.confinement = tuple(self._wait(Kind.CONFINED, isolation.load_s).splitlines())
        """What holds of `edge.inference.confine.WANTED`."""

        self.providers = tuple(self._wait(Kind.READY, isolation.load_s).splitlines())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        """Infer; the port's `run`, but for `alive`.

        Raises:
            FaultError: as the port's; the process is over unless `alive` says otherwise.
        """
        number, slot = self._ask(batch)
        try:
            kind, payload = self._hear(number)
            if kind is not Kind.ANSWER:
                raise self._failure(kind, payload)
            try:
                return self._arena.take(payload, start=sides(slot)[1])
            except FaultError:
                self.close()  # it does not keep to the form: nothing it says is worth more
                raise
        finally:
            with self._turns:
                self._let_go(slot)

    def _ask(self, batch: NDArray[np.float32]) -> tuple[int, int]:
        """Put a batch into the next slot and say so; the question's number and its slot, which is held then."""
        with self._turns:
            self._turns.wait_for(lambda: self._over or self._asked % SLOTS not in self._held)
            if self._over:
                raise FaultError("the model's process ended")
            number, slot = self._asked, self._asked % SLOTS
            self._held.add(slot)
            try:
                described = self._arena.put([batch], start=sides(slot)[0])
                self._send(bytes([Kind.RUN, slot]) + described)
            except BaseException:
                self._let_go(slot)
                raise
            self._asked += 1
            return number, slot

    def _hear(self, number: int) -> tuple[Kind, bytes]:
        """The answer to a question, after those to the ones before it."""
        with self._turns:
            self._turns.wait_for(lambda: self._answered == number)
        try:
            return self._receive(self._isolation.answer_s)
        finally:
            with self._turns:
                self._answered += 1
                self._turns.notify_all()

    def _let_go(self, slot: int) -> None:
        self._held.remove(slot)
        self._turns.notify_all()
        if self._over and not self._held:
            self._arena.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return not self._over

    def close(self) -> None:
        """End it at once; may be called again."""
        with self._turns:
            if self._over:
                return
            self._over = True
            self._socket.close()
            self._child.kill()
            if not self._held:
                self._arena.close()
            self._turns.notify_all()
        with suppress(RuntimeError):  # the interpreter ends: init will reap it
            _STARTER.submit(self._child.wait)

    def _wait(self, wanted: Kind, within_s: float) -> str:
        kind, payload = self._receive(within_s)
        if kind is wanted:
            return read_text(payload)
        error = self._failure(kind, payload)
        self.close()
        raise error

    def _send(self, message: bytes) -> None:
        try:
            self._socket.settimeout(self._isolation.answer_s)
            self._socket.send(message)
        except OSError as error:
            raise self._ended() from error

    def _receive(self, within_s: float) -> tuple[Kind, bytes]:
        try:
            self._socket.settimeout(within_s)
            message = self._socket.recv(MAX_MESSAGE)
            if not message:
                raise self._ended()
            return Kind(message[0]), message[1:]
        except TimeoutError as error:
            self.close()
            raise FaultError(
                f"the model gave no answer within {within_s:g} s and was killed",
                hint="Raise inference.answer_s or inference.load_s if this device is slow; otherwise the model hangs.",
            ) from error
        except OSError as error:
            raise self._ended() from error
        except ValueError as error:
            self.close()
            raise FaultError("the model's process answered in no known form") from error

    def _failure(self, kind: Kind, payload: bytes) -> Exception:
        if kind is Kind.FAULT:
            return FaultError(read_text(payload))
        self.close()
        if kind is Kind.DISTRUST:
            return TrustError(read_text(payload))
        if kind is Kind.MEMORY:
            return FaultError(
                f"the model needs more than {self._isolation.memory_mib} MiB and was killed",
                hint="Raise inference.memory_mib if the device has it, or release a smaller variant.",
            )
        return FaultError("the model's process answered in no known form")

    def _ended(self) -> FaultError:
        """It hung up: say how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_GRACE_S)
        code = self._child.returncode
        self.close()
        if code is None:
            how = "hung up and was killed"
        elif code < 0:
            how = f"was ended by {_name(-code)}"
        else:
            how = f"ended with status {code}"
        return FaultError(f"the model's process {how}")


def _spawn(isolation: Isolation, end: int, model: int, arena: int) -> subprocess.Popen[bytes]:
    order = Order(
        socket=end,
        model=model,
        arena=arena,
        agent=os.getpid(),
        memory_mib=isolation.memory_mib,
        threads=isolation.threads,
        user=isolation.user,
        runtime=isolation.runtime,
    )
    child = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
        [sys.executable, "-I", "-S", *_arguments(isolation.entry), json.dumps(asdict(order))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a model's library may write what it likes; what matters comes over the socket
        env=_environment(isolation.threads),
        cwd="/",
        close_fds=True,
        pass_fds=(end, model, arena),
        start_new_session=True,  # Ctrl-C is for the agent, which still answers what it has
    )
    with suppress(ProcessLookupError):  # it is gone already, which the first answer will say
        if isolation.nice:
            os.setpriority(os.PRIO_PROCESS, child.pid, isolation.nice)
        if isolation.cpus:
            _pin(child, isolation.cpus)
    return child


def _pin(child: subprocess.Popen[bytes], cpus: Sequence[int]) -> None:
    """Keep a process, which has no other threads yet, on some processors."""
    try:
        os.sched_setaffinity(child.pid, cpus)
    except ProcessLookupError:
        raise
    except OSError as error:
        child.kill()
        child.wait()
        raise FaultError(
            f"no process can run on processors {list(cpus)}: {error}",
            hint=f"inference.cpus may name {sorted(os.sched_getaffinity(0))} here.",
        ) from error


def _arguments(entry: Sequence[str]) -> list[str]:
    """`entry`, with the agent's path of modules in place of a lone separator."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(dict.fromkeys([root, *(each for each in sys.path if Path(each).is_absolute())]))
    return [path if each == os.pathsep else each for each in entry]


def _environment(threads: int) -> dict[str, str]:
    """Nothing of the agent's but this; threads and arenas of malloc each take address space."""
    return {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", **TELEMETRY_OFF}


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
