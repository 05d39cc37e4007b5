"""Which runtimes this device has, and why it has not those that its owner prefers. Decided once, at the start."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from shared.bundle import Runtime

GPU = frozenset({Runtime.TENSORRT, Runtime.TENSORRT_RTX})

SM = re.compile(r"sm\d{2,3}", re.ASCII)
"""Hardware fact of an NVIDIA GPU: its generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How models may be executed here."""

    runtimes: tuple[Runtime, ...]
    """The preferred one first; never empty."""

    lacking: Mapping[Runtime, str]
    """Preferred, and not to be had: why."""


def find_ways(
    preferred: Sequence[Runtime], *, hardware: Collection[str], version: Callable[[Runtime], str | None]
) -> Ways:
    """Hold what the owner prefers against what the machine has.

    Args:
        preferred: runtimes by name, the best first.
        hardware: facts of this device.
        version: what is installed of a runtime; None for nothing.
    """
    reasons = {runtime: _lack(runtime, hardware, version) for runtime in dict.fromkeys(preferred)}
    usable = tuple(runtime for runtime, reason in reasons.items() if not reason)
    return Ways(
        runtimes=usable or (Runtime.ONNXRUNTIME,),  # comes with every agent
        lacking={runtime: reason for runtime, reason in reasons.items() if reason},
    )


def _lack(runtime: Runtime, hardware: Collection[str], version: Callable[[Runtime], str | None]) -> str:
    if runtime in GPU and not any(SM.fullmatch(fact) for fact in hardware):
        return f"{runtime} needs an NVIDIA GPU, and agent.hardware names none, such as sm87"
    if runtime is not Runtime.ONNXRUNTIME and version(runtime) is None:
        return f"{runtime} is not installed"
    return ""
