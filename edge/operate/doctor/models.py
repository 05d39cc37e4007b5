"""What executes models: runtimes, memory for a swap, and what this kernel gives to fence them in."""

from __future__ import annotations

from collections.abc import Iterator

from edge.inference.channel import make_file
from edge.inference.confine import lacking
from edge.inference.process import Isolation, Process
from edge.inference.ways import find_ways
from edge.inference.worker import IDENTITY
from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient
from shared.bundle import Runtime
from shared.errors import HinterlandError

ROUND_A_MODEL_MIB = 48
"""What a model's process takes beside the model."""


def check_runtimes(patient: Patient) -> Iterator[Finding]:
    """Those that the owner prefers are there."""
    settings, facts = patient.settings, patient.facts
    ways = find_ways(settings.inference.runtimes, hardware=settings.agent.hardware, version=facts.version)
    if facts.version(Runtime.ONNXRUNTIME) is None:
        yield fail("runtimes", "ONNX Runtime is not installed", "pip install 'hinterland[edge]'")
        return
    for runtime, reason in ways.lacking.items():
        yield warn("runtimes", reason, f"Install it, or take {runtime.value} out of inference.runtimes.")
    if not ways.lacking:
        yield ok("runtimes", ", ".join(f"{each.value} {facts.version(each) or ''}".strip() for each in ways.runtimes))


def check_memory(patient: Patient) -> Iterator[Finding]:
    """A swap holds two models: the largest has to fit once more."""
    free = patient.facts.memory_mib()
    if free is None:
        yield warn("memory", "this machine does not say what is free", "Look at it with `free -m`.")
        return
    needed = _largest_mib(patient)
    running = patient.status is not None
    wanted = needed if running else 2 * needed
    if free < wanted:
        yield warn(
            "memory",
            f"{free} MiB are free; the largest model once more takes about {needed} MiB",
            "Updates may fail here: free some, or release a smaller variant.",
        )
    else:
        yield ok("memory", f"{free} MiB are free; {'another' if running else 'two'} of about {needed} MiB fit")


def _largest_mib(patient: Patient) -> int:
    if patient.status is not None:
        sizes = [each.rss_mib for each in patient.status.processes if each.role.startswith("model ")]
        if sizes:
            return round(max(sizes))
    models = patient.state / "models"
    files = [path.stat().st_size for path in models.glob("*/[AB]/*") if path.is_file()] if models.is_dir() else []
    return ROUND_A_MODEL_MIB + (3 * max(files, default=0) >> 20)


def check_isolation(patient: Patient) -> Iterator[Finding]:
    """A process as a model gets it is started, says what holds, and ends."""
    inference = patient.settings.inference
    if inference.isolation == "none":
        yield warn("isolation", "models run in the agent, with all its rights", 'Set inference.isolation = "process".')
        return
    try:
        isolation = Isolation(memory_mib=inference.memory_mib, load_s=inference.load_s, user=inference.user)
        process = Process(make_file(IDENTITY), isolation)
    except HinterlandError as error:
        yield fail("isolation", f"no process for a model: {error}", error.hint or "See what limits processes here.")
        return
    process.close()
    if missing := lacking(process.confinement):
        yield warn(
            "isolation",
            f"this system does not give models' processes: {', '.join(missing)}",
            "docs/devices.md says which kernel gives what.",
        )
    else:
        yield ok("isolation", f"a model gets: {', '.join(process.confinement)}")
