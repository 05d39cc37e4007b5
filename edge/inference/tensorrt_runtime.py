"""TensorRT and TensorRT-RTX behind the session port. **Never run by us past the point where a GPU is needed.**

What is tested without one: the checks before it (file, runtime, generation of the GPU), and the proof after it, over
another session. Memory on the GPU goes through the driver's own interface (cuda.h), which comes with every driver.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.inference.proof import check_place, prove
from edge.inference.runtime import Array, Session
from shared.bundle import Runtime
from shared.engine import Engine, read_engine
from shared.errors import FaultError
from shared.nvidia import MODULES, gpu


def load(
    data: bytes,
    *,
    runtime: Runtime,
    sm: Callable[[], int] = gpu,
    execute: Callable[[Engine, Runtime], Session] | None = None,
) -> Session:
    """A session that has proven itself on the float model's answers.

    (1) the file is an engine with its proof, and nothing else; (2) it is for this runtime and this GPU, before the
    library sees a byte; (3) the library takes it; (4) its answers are the float model's.

    Raises:
        TrustError: (1) failed, or it is for another runtime.
        FaultError: (2), (3) or (4) failed.
    """
    engine = read_engine(data)  # (1)
    check_place(engine, runtime=runtime, sm=sm())  # (2)
    session = (execute or EngineSession)(engine, runtime)  # (3)
    try:
        prove(session, engine)  # (4)
    except BaseException:
        session.close()
        raise
    return session


class EngineSession:
    """A deserialised engine with one float input; several threads take turns."""

    def __init__(self, engine: Engine, runtime: Runtime) -> None:
        """Deserialise it.

        Raises:
            FaultError: the library is missing or refuses it: another version, another GPU.
        """
        try:
            trt = importlib.import_module(MODULES[runtime])
        except ImportError as error:
            raise FaultError(f"{runtime} is not installed: {error}") from error
        self._trt = trt
        self._lock = threading.Lock()
        self._cuda = _Cuda()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine: Any = self._runtime.deserialize_cuda_engine(bytes(engine.plan))
        if self._engine is None:
            raise FaultError(
                f"{runtime} {trt.__version__} refuses an engine built by {engine.notes.version}",
                hint="Install the version that built it, or build it again with the one that is here.",
            )
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._is_input(name)]
        self._outputs = [name for name in names if not self._is_input(name)]
        if len(self._inputs) != 1:
            raise FaultError(f"the engine takes {self._inputs}, not one input")
        self._providers = (f"{MODULES[runtime]} {trt.__version__} on SM{engine.notes.sm}",)

    @property
    def providers(self) -> tuple[str, ...]:
        return self._providers

    def run(self, batch: NDArray[np.float32]) -> list[Array]:
        with self._lock:
            if self._engine is None:
                raise FaultError("the session is closed")
            if batch.dtype != np.float32 or not self._context.set_input_shape(self._inputs[0], batch.shape):
                raise FaultError(f"a batch {batch.dtype}{list(batch.shape)} does not fit the engine")
            outputs = [np.empty(tuple(self._context.get_tensor_shape(name)), np.float32) for name in self._outputs]
            with self._cuda.memory(np.ascontiguousarray(batch), *outputs) as places:
                for name, place in zip([*self._inputs, *self._outputs], places, strict=True):
                    self._context.set_tensor_address(name, place)
                self._cuda.write(places[0], batch)
                if not self._context.execute_async_v3(0):  # the default stream, in order with what copies
                    raise FaultError("inference failed: the engine did not run")
                for place, output in zip(places[1:], outputs, strict=True):
                    self._cuda.read(place, output)
            return list(outputs)

    def close(self) -> None:
        with self._lock:
            self._context = self._engine = None

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)


class _Cuda:
    """The driver's memory functions on the primary context of the first GPU."""

    def __init__(self) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise FaultError(f"no NVIDIA driver answers here: {error}") from error
        self._context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), 0)

    def memory(self, *arrays: Array) -> _Memory:
        """Room on the GPU for each array, for as long as the block lasts."""
        self._call("cuCtxSetCurrent", self._context)  # whichever thread this is
        return _Memory(self, [array.nbytes for array in arrays])

    def take(self, size: int) -> int:
        """Allocate."""
        place = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(max(size, 1)))
        return place.value

    def give(self, place: int) -> None:
        """Free."""
        self._driver.cuMemFree_v2(ctypes.c_uint64(place))

    def write(self, place: int, array: Array) -> None:
        """Copy to the GPU."""
        array = np.ascontiguousarray(array)
        source = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(place), source, ctypes.c_size_t(array.nbytes))

    def read(self, place: int, array: Array) -> None:
        """Copy from the GPU, once all that was asked before is done."""
        target = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(place), ctypes.c_size_t(array.nbytes))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise FaultError(f"the NVIDIA driver refused {name}: error {status}")


class _Memory:
    def __init__(self, cuda: _Cuda, sizes: list[int]) -> None:
        self._cuda = cuda
        self._sizes = sizes
        self._places: list[int] = []

    def __enter__(self) -> list[int]:
        try:
            for size in self._sizes:
                self._places.append(self._cuda.take(size))
        except BaseException:
            self.__exit__()
            raise
        return self._places

    def __exit__(self, *_: object) -> None:
        while self._places:
            self._cuda.give(self._places.pop())
