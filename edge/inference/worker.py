"""A model's process: give up all rights, load one model, answer batches. Started by `edge.inference.process`.

It inherits three descriptors: the socket to the agent, the model's bytes, and the memory in which tensors travel.
Everything that must be opened is opened before the rights are gone; the runtime is tried on a graph of our own.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.inference.channel import MAX_MESSAGE, Arena, Kind, sides, told
from edge.inference.confine import Bounds, confine
from edge.inference.runtime import Array, Load, Session
from edge.inference.ways import GPU
from shared.bundle import Runtime
from shared.errors import FaultError, TrustError

JIT = frozenset({Runtime.OPENVINO})
"""What writes its kernels as machine code when a model comes, and so needs memory that can be executed."""

_SIGNS = ("bad_alloc", "allocate memory", "bad allocation")
"""How ONNX Runtime words it that `malloc` gave nothing."""

IDENTITY = (
    b'\x08\x08\x12\x00:A\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01tZ\x14\n\x01x\x12\x0f\n\r\x08\x01\x12\t'
    b"\n\x03\x12\x01n\n\x02\x08\x01b\x14\n\x01y\x12\x0f\n\r\x08\x01\x12\t\n\x03\x12\x01n\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""An ONNX model of one operator: y = x [n, 1], format 8, operator set 17."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a model's process is told on its command line."""

    socket: int
    model: int
    arena: int
    agent: int
    memory_mib: int
    threads: int
    user: int
    runtime: str = Runtime.ONNXRUNTIME


Prepare = Callable[[Order], Load]
"""Opens and imports what a runtime needs, while that is allowed; returns what loads the model afterwards."""


def run(prepare: Prepare) -> None:
    """Be a model's process until the agent hangs up."""
    order = Order(**json.loads(sys.argv[1]))
    agent = socket.socket(fileno=order.socket)
    arena = Arena(order.arena)
    os.close(order.arena)
    load = prepare(order)
    held = confine(
        Bounds(
            memory_mib=order.memory_mib,
            threads=order.threads,
            user=order.user,
            agent=order.agent,
            jit=order.runtime in JIT,
            gpu=order.runtime in GPU,
        )
    )
    _say(agent, Kind.CONFINED, "\n".join(held).encode())
    session = _load(agent, load, order.model)
    if session is not None:
        _say(agent, Kind.READY, "\n".join(session.providers).encode())
        while _turn(agent, arena, session):
            pass


def _load(agent: socket.socket, load: Load, model: int) -> Session | None:
    try:
        data = _read(model)
        os.close(model)
        return load(data)
    except TrustError as error:
        _say(agent, Kind.DISTRUST, told(error))
    except Exception as error:
        _say(agent, *_failure(error))
    return None


def _turn(agent: socket.socket, arena: Arena, session: Session) -> bool:
    """Answer one batch; False when the agent has hung up."""
    message = agent.recv(MAX_MESSAGE)
    if not message:
        return False
    try:
        asked, answered = sides(message[1])
        (batch,) = arena.view(message[2:], start=asked)
        _say(agent, Kind.ANSWER, arena.put(session.run(batch), start=answered))
    except Exception as error:
        kind, text = _failure(error)
        _say(agent, kind, text)
        return kind is not Kind.MEMORY
    return True


def _failure(error: Exception) -> tuple[Kind, bytes]:
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS):
        return Kind.MEMORY, b""
    if isinstance(error, FaultError):
        return Kind.FAULT, told(error)
    return Kind.FAULT, told(f"{type(error).__name__}: {error}")


def _say(agent: socket.socket, kind: Kind, payload: bytes) -> None:
    agent.send(bytes([kind]) + payload)


def _read(descriptor: int) -> bytes:
    size = os.lseek(descriptor, 0, os.SEEK_END)  # fstat may be newfstatat, which takes paths and is refused
    data = os.pread(descriptor, size, 0)
    if len(data) != size:  # one call gives at most 2 GiB less a page
        raise FaultError(f"a model of {size} bytes is too large for this device")
    return data


def onnx(order: Order) -> Load:
    """ONNX Runtime, having run once: it reads what it wants to know of the machine while it may."""
    from edge.inference.onnx_runtime import OnnxSession, OnnxSettings

    settings = OnnxSettings(threads=order.threads)
    OnnxSession.from_bytes(IDENTITY, settings).run(np.zeros((1, 1), np.float32))
    return lambda data: OnnxSession.from_bytes(data, settings)


def openvino(order: Order) -> Load:
    """OpenVINO, having run once, as ONNX Runtime has."""
    from edge.inference.openvino_runtime import OpenVinoSession, OpenVinoSettings, open_parts

    settings, opened = OpenVinoSettings(threads=order.threads), open_parts()
    OpenVinoSession.from_bytes(IDENTITY, settings, opened=opened).run(np.zeros((1, 1), np.float32))
    return lambda data: OpenVinoSession.from_bytes(data, settings, opened=opened)


def engines(order: Order) -> Load:
    """TensorRT or TensorRT-RTX; the GPU is asked who it is when an engine comes."""
    from functools import partial

    from edge.inference.tensorrt_runtime import load

    return partial(load, runtime=Runtime(order.runtime))


def load_here(runtime: Runtime, *, threads: int) -> Load:
    """What loads models in this very process, without giving any right up."""
    load = prepare(
        Order(socket=-1, model=-1, arena=-1, agent=0, memory_mib=0, threads=threads, user=0, runtime=runtime)
    )
    return lambda data: OneAtATime(load(data))


class OneAtATime:
    """A session whose batches take turns, so that it keeps no more threads busy than it was given."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turn = threading.Lock()
        self.providers = session.providers

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        with self._turn:
            return self._session.run(batch)

    def close(self) -> None:
        self._session.close()


def prepare(order: Order) -> Load:
    """The runtime that the order names."""
    ways: dict[str, Prepare] = {Runtime.ONNXRUNTIME: onnx, Runtime.OPENVINO: openvino}
    return ways.get(order.runtime, engines)(order)


def main() -> None:
    """Entry of the process."""
    run(prepare)
