"""A model's process whose "model" is the name of an attack: what code could do once it took the runtime over."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge.inference.process import Isolation
from edge.inference.worker import Order, run

ENTRY = "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from tests.hostile_model import main; main()"


def isolation(*, memory_mib: int = 256, answer_s: float = 60.0, load_s: float = 120.0) -> Isolation:
    """A process for attacks, with the same confinement as any."""
    return Isolation(memory_mib=memory_mib, answer_s=answer_s, load_s=load_s, entry=("-c", ENTRY, os.pathsep))


def _read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def _write(path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(b"x")


def _connect(_: str) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def _execute(path: str) -> None:
    os.execv(path, [path])  # returns only when refused


def _fork(_: str) -> None:
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        os._exit(0)


def _thread(_: str) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _cut(_: str) -> None:
    """Cut off what the agent reads tensors from: its next look would be a SIGBUS."""
    for descriptor in range(3, 16):
        try:
            os.ftruncate(descriptor, 0)
        except OSError as error:
            last = error
        else:
            return
    raise last


def _peek(agent: str) -> None:
    piece, number = ctypes.create_string_buffer(16), int(agent)
    vectors = (ctypes.c_void_p * 2)(ctypes.addressof(piece), 16)
    _call("process_vm_readv", number, ctypes.byref(vectors), 1, ctypes.byref(vectors), 1, 0)


ATTACKS: dict[str, Callable[[str], object]] = {
    "nothing": len,
    "read": _read,
    "write": _write,
    "connect": _connect,
    "execute": _execute,
    "fork": _fork,
    "thread": _thread,
    "kill": lambda pid: os.kill(int(pid), signal.SIGKILL),
    "peek": _peek,
    "cut": _cut,
    "become root": lambda _: os.setuid(0),
    "outlive": lambda _: _call("prctl", 1, 0, 0, 0, 0),  # PR_SET_PDEATHSIG
    "run code": lambda _: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANON, mmap.PROT_READ | mmap.PROT_EXEC),
    "share": lambda size: mmap.mmap(-1, int(size)),
    "allocate": lambda size: bytearray(int(size)),
    "hang": lambda _: threading.Event().wait(),
    "spin": lambda _: all(True for _ in iter(int, 1)),
    "crash": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(0),
    "garble": lambda _: os.write(_agent, b"\xff\x00"),
    "boast": lambda _: os.write(_agent, b"\x04" + b"\x00\x08" + b"\xff" * 64),
}

_agent = -1


class Attack:
    """A session that attacks when it is run, and answers as a classifier of two labels if it is allowed to."""

    providers = ("attack",)

    def __init__(self, data: bytes) -> None:
        self._name, _, self._argument = data.decode().partition(":")
        self._runs = 0
        if self._name == "while loading":
            attack(*self._argument.split(" "))

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self._runs += 1
        if self._name.startswith("after "):  # so many batches that it answers in each life
            if self._runs > int(self._name.removeprefix("after ")):
                attack(*self._argument.split(":"))
        elif self._name not in {"while loading", "later"}:
            attack(self._name, self._argument)
        if self._name == "later" and self._runs > 3:  # after a warm-up and a first answer
            return [np.zeros(json.loads(self._argument), np.float32)]
        return [np.zeros((len(batch), 2), np.float32)]

    def close(self) -> None:
        pass


def attack(name: str, argument: str = "") -> None:
    """Do it."""
    ATTACKS[name](argument)


def main() -> None:
    """Entry of the process."""

    def prepare(order: Order) -> Callable[[bytes], Attack]:
        global _agent  # noqa: PLW0603 - a process of its own
        _agent = order.socket
        return Attack

    run(prepare)


if __name__ == "__main__":
    sys.exit("started by tests")
