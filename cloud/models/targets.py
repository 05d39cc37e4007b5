"""Which file of a model a kind of hardware gets: the targets that a release can be optimised for.

A target is named by what it is for and its precision: `cpu-int8`, `openvino-fp32`, `sm86-fp16`. SM is NVIDIA's number
of a GPU's generation. TensorRT-RTX builds for `RTX_SMS` on any machine; full TensorRT builds for the GPU of the
machine that it runs on, and is what Jetson Orin (SM87) and Hopper (SM90) need.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.bundle import Runtime
from shared.errors import RefusedError

RTX_SMS = (75, 80, 86, 89, 120, 121)
"""What TensorRT-RTX 1.7 has kernels for (`ComputeCapability`)."""

NATIVE_SMS = (87, 90)
"""What only full TensorRT runs on."""

PRECISIONS = ("fp32", "fp16", "int8")

_NAME = re.compile(r"(cpu|openvino|sm(\d{2,3}))-(fp32|fp16|int8)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One file that a release may have."""

    runtime: Runtime
    precision: str
    sm: int = 0
    """0 for processors."""

    @property
    def name(self) -> str:
        """As operators write it."""
        kind = f"sm{self.sm}" if self.sm else "cpu" if self.runtime is Runtime.ONNXRUNTIME else str(self.runtime)
        return f"{kind}-{self.precision}"

    @property
    def file(self) -> str:
        """Name of the variant in a release."""
        return f"{self.name}.{'engine' if self.engine else 'onnx'}"

    @property
    def hardware(self) -> str:
        """The fact that a device must have."""
        return f"sm{self.sm}" if self.sm else "cpu"

    @property
    def engine(self) -> bool:
        """Whether it must be built; other targets run the ONNX file itself."""
        return bool(self.sm)


def parse_target(name: str) -> Target:
    """A target by its name.

    Raises:
        RefusedError: there is no such target.
    """
    found = _NAME.fullmatch(name)
    sm = int(found[2] or 0) if found else 0
    if not found or (sm and sm not in RTX_SMS + NATIVE_SMS) or (not sm and found[3] == "fp16"):
        raise RefusedError(f"{name[:40]!r} is no target", hint=f"Choose among {', '.join(ALL)}.")
    if sm:
        runtime = Runtime.TENSORRT_RTX if sm in RTX_SMS else Runtime.TENSORRT
    else:
        runtime = Runtime.ONNXRUNTIME if found[1] == "cpu" else Runtime.OPENVINO
    return Target(runtime=runtime, precision=found[3], sm=sm)


def parse_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """Targets by name, each once, in the order given.

    Raises:
        RefusedError: there is no such target, or none was named.
    """
    targets = tuple(parse_target(name) for name in dict.fromkeys(names))
    if not targets:
        raise RefusedError("no target was named", hint=f"Choose among {', '.join(ALL)}.")
    return targets


ALL = (
    *(f"{kind}-{precision}" for kind in ("cpu", "openvino") for precision in ("fp32", "int8")),  # fp16 is slower there
    *(f"sm{sm}-{precision}" for sm in sorted(RTX_SMS + NATIVE_SMS) for precision in PRECISIONS),
)
"""Names of all targets."""
