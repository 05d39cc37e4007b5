"""TensorRT and TensorRT-RTX as builders: one engine from one ONNX file.

Both have the same interface under different names. TensorRT-RTX takes the GPU's generation as a setting and needs
neither GPU nor driver; full TensorRT tries kernels out, and so builds for the GPU it finds. **The full one was never
run by us**: no machine of ours has such a GPU. Networks are strongly typed: the precision is that of the ONNX file.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cloud.models.engines.order import Order, Report
from shared.bundle import Runtime
from shared.errors import FaultError, RefusedError
from shared.nvidia import MODULES, gpu

REMEDY = {
    Runtime.TENSORRT_RTX: "Install the extra `engines` where the coordinator runs: pip install 'hinterland[engines]'.",
    Runtime.TENSORRT: "Run the build on a machine with a GPU of this generation and NVIDIA's TensorRT installed.",
}

NOTES = 40
"""Lines of the library's log that are kept."""

Tell = Callable[[str, int], None]
"""Is told the phase and how many steps are done."""


def missing(runtime: Runtime) -> str:
    """Why nothing can be built for `runtime` on this machine; empty if it can."""
    module = MODULES.get(runtime)
    if module is None:
        return f"nothing is built for {runtime}"
    return "" if find_spec(module) else f"{module} is not installed"


def build(order: Order, source: bytes, *, tell: Tell, timings: Path | None = None) -> tuple[bytes, Report]:
    """Build an engine; one a process, since the libraries keep state that makes later ones differ.

    Args:
        order: for which runtime and GPU.
        source: self-contained ONNX in the engine's precision.
        tell: is told of progress, on this thread.
        timings: full TensorRT's cache of what it measured; read if there, and written.

    Raises:
        RefusedError: the library is missing, or the GPU here is not the one that is asked for.
        FaultError: the library refuses the model; the message holds its words.
    """
    reason = missing(order.runtime)
    if reason:
        raise RefusedError(reason, hint=REMEDY.get(order.runtime, ""))
    trt = importlib.import_module(MODULES[order.runtime])
    started = time.perf_counter()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(source):
        said = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise FaultError(f"the parser refuses the model: {_line(said)}")
    config = builder.create_builder_config()
    config.progress_monitor = _monitor(trt, tell)
    _aim(trt, config, order)
    _open_axis(builder, config, network, order)
    cache = _timing_cache(config, timings) if order.runtime is Runtime.TENSORRT else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise FaultError(f"no engine could be built: {_line(log.said)}")
    if cache is not None and timings is not None:
        timings.write_bytes(bytes(config.get_timing_cache().serialize()))
    report = Report(
        version=str(trt.__version__),
        layers=network.num_layers,
        seconds=time.perf_counter() - started,
        notes=log.said[:NOTES],
    )
    return bytes(plan), report


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps warnings and errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.WARNING:
                self.said.append(f"{severity.name.lower()}: {message}")

    return Log()


def _monitor(trt: Any, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Counts steps."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.done = 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase, num_steps
            tell(phase_name, self.done)

        def step_complete(self, phase_name: str, step: int) -> bool:
            del step
            self.done += 1
            tell(phase_name, self.done)
            return True

        def phase_finish(self, phase_name: str) -> None:
            del phase_name

    return Monitor()


def _strongly_typed(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only way, in newer versions
    return 1 << int(flag) if flag is not None else 0


def _aim(trt: Any, config: Any, order: Order) -> None:
    """For which GPU: a setting of TensorRT-RTX, and a fact of the machine for full TensorRT."""
    if order.runtime is Runtime.TENSORRT_RTX:
        capability = getattr(trt.ComputeCapability, f"SM{order.sm}", None)
        if capability is None:
            raise RefusedError(f"TensorRT-RTX {trt.__version__} has no kernels for SM{order.sm}")
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
        return
    here = gpu()
    if here != order.sm:
        raise RefusedError(
            f"this machine's GPU is SM{here}, the engine is for SM{order.sm}", hint=REMEDY[Runtime.TENSORRT]
        )


def _open_axis(builder: Any, config: Any, network: Any, order: Order) -> None:
    """Say which batches will come, for inputs that leave it open."""
    profile = builder.create_optimization_profile()
    open_ = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = list(tensor.shape)
        if shape[0] != -1:
            continue
        if -1 in shape[1:]:
            raise FaultError(f"input {tensor.name} leaves more than its batch axis open: {shape}")
        open_ = True
        batch = order.batch
        profile.set_shape(tensor.name, *([size, *shape[1:]] for size in (batch.least, batch.usual, batch.most)))
    if open_:
        config.add_optimization_profile(profile)


def _timing_cache(config: Any, path: Path | None) -> Any:
    known = path.read_bytes() if path is not None and path.exists() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _line(said: list[str]) -> str:
    words = next((each for each in said if each.startswith("error")), said[0] if said else "it does not say why")
    return " ".join(words.split())[:400]
