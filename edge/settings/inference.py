"""How models run."""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.settings.kinds import Cpu, Positive, Rate
from shared.bundle import Runtime


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run."""

    isolation: Literal["process", "none"] = "process"
    """`process`: each model in a process of its own without rights. `none`: in the agent, where a bad model can do
    what the agent can; for systems that cannot start processes."""

    threads: Positive = 1
    """Threads within one operator. Small models lose by more, and an agent has neighbours."""

    cpus: list[Cpu] = []
    """Processors on which models run, by the kernel's numbers; empty for all that the agent may use."""

    memory_mib: Positive = 512
    """Most address space for a model, beyond what Python and the runtime take; over it the model is killed."""

    load_s: Rate = 60.0
    """Seconds that starting a process, checking and loading a model may take."""

    answer_s: Rate = 5.0
    """Seconds that one batch may take; over it the model is killed."""

    runtimes: list[Runtime] = msgspec.field(default_factory=lambda: [Runtime.ONNXRUNTIME])
    """What executes models here, the preferred one first; a release's file for an earlier one is taken first."""

    unexecuted: bool = False
    """Whether files may run here that nobody could run before they were signed. Each proves itself first."""

    user: Positive = 65534
    """Uid and gid of a model's process where the agent is root; `nobody` by default."""
