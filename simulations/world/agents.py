"""Devices of the simulated world: their settings files and their processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.durable import write_atomic
from simulations.world.process import Process, console_script


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A sensor pipeline fed from a recording."""

    name: str
    model: str
    path: Path
    rate: float
    loop: bool
    remember: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A camera pipeline fed from a film."""

    name: str
    model: str
    path: Path
    fps: float
    snapshot: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One device as the simulation sets it up."""

    device: str
    state: Path
    data: Path | None
    """Directory of its training data; None where it only infers."""

    pipelines: Sequence[Replay | Video]
    telemetry_s: float
    drift_inputs: int
    inference: Mapping[str, float] = field(default_factory=dict)
    """What models may take, in the words of `edge.settings.InferenceSettings`."""


def write_settings(spec: AgentSpec, *, token: str) -> Path:
    """Write `agent.toml` and the token; return the file."""
    spec.state.mkdir(parents=True, exist_ok=True)
    token_file = spec.state / "token"
    write_atomic(token_file, token.encode(), mode=0o600)
    path = spec.state / "agent.toml"
    write_atomic(path, _render(spec, token_file).encode())
    return path


def agent_process(spec: AgentSpec, config: Path, *, logs: Path) -> Process:
    """The agent's process; one thread for mathematics, since six devices share this machine."""
    argv = [*console_script("hinterland-agent"), "run", "--config", str(config)]
    return Process(spec.device, argv, logs=logs, env={"OMP_NUM_THREADS": "1"})


def _render(spec: AgentSpec, token_file: Path) -> str:
    tables = [
        _table("[agent]", state=str(spec.state), token_file=str(token_file)),
        _table("[reporting]", telemetry_s=spec.telemetry_s, drift_inputs=spec.drift_inputs),
        _table("[update]", check_s=0.5),
        *([_table("[inference]", **spec.inference)] if spec.inference else []),
        *([] if spec.data is None else [_table("[training]", enabled=True, data=str(spec.data))]),
    ]
    return "\n".join([*tables, *map(_pipeline, spec.pipelines)])


def _pipeline(pipeline: Replay | Video) -> str:
    name, model = pipeline.name, pipeline.model
    if isinstance(pipeline, Video):
        source = _inline(kind="video", path=str(pipeline.path), fps=pipeline.fps, loop=True)
        head = _table("[[pipelines]]", name=name, model=model, snapshot=str(pipeline.snapshot))
    else:
        source = _inline(kind="replay", path=str(pipeline.path), rate=pipeline.rate, loop=pipeline.loop)
        head = _table("[[pipelines]]", name=name, model=model, remember=pipeline.remember)
    return f"{head}source = {source}\n"


def _table(header: str, **fields: str | float | bool) -> str:
    return "\n".join([header, *(f"{name} = {_value(value)}" for name, value in fields.items()), ""])


def _inline(**fields: str | float | bool) -> str:
    return "{ " + ", ".join(f"{name} = {_value(value)}" for name, value in fields.items()) + " }"


def _value(value: str | float | bool) -> str:
    return json.dumps(value)  # JSON's strings, numbers and booleans are TOML's too
