"""What an agent is doing at one moment, for people who look: structures, and the gathering of them.

Unlike telemetry it never leaves the device, names processes, and counts since the agent's start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from edge.facts.processes import taken
from edge.inference.host import Served
from edge.inference.runtime import Mortal
from edge.link.outbox import CHANNELS

if TYPE_CHECKING:
    from edge.agent import Agent
    from edge.pipelines.pipeline import Pipeline


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last few hundred inputs, from ready to answered."""

    p50_ms: float
    p99_ms: float


class PipelineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline."""

    name: str
    model: str
    state: str
    reason: str = ""
    release: str = ""
    received: int = 0
    processed: int = 0
    errors: int = 0
    dropped: dict[str, int] = {}
    waiting: int = 0
    """Inputs that have come and are neither answered nor dropped."""

    latency: Latency | None = None
    busy_s: float = 0.0
    """Seconds since when the inputs in work are with their model."""


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One model line."""

    model: str
    release: str
    variant: str
    runtime: str
    ailing: str = ""
    challenger: str = ""
    """Release in its shadow; empty for none."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the agent."""

    role: str
    """`agent`, `model NAME`, `challenger NAME`, `trainer`."""

    pid: int
    cpu_s: float
    rss_mib: float


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the coordinator."""

    connected: bool
    sessions: int
    waiting: dict[str, int]
    """Records not acknowledged yet, by channel."""

    lost: dict[str, int]
    """Records given up over the outbox's cap, by channel."""

    durable: bool = True
    """False once records are kept in memory only."""


class ServingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What others ask."""

    ports: list[int]
    at_work: int
    refused: int
    answered: dict[str, int] = {}
    """Inputs, by model line."""

    errors: dict[str, int] = {}
    latency: Latency | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    device: str
    fleet: str
    pid: int
    at: float
    """Unix seconds."""

    monotonic: float
    """Seconds on a clock that only goes on: rates are differences over this."""

    pipelines: list[PipelineStatus]
    models: list[ModelStatus]
    processes: list[ProcessStatus]
    link: LinkStatus
    desired: dict[str, str] = {}
    """Model line → release that is committed; empty for none."""

    serving: ServingStatus | None = None
    temperature_c: float | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    format: int = 1


def gather(agent: Agent) -> Status:
    """What the agent is doing now; takes about a millisecond."""
    clock, facts = agent.clock, agent.facts
    disk = facts.disk_bytes(agent.settings.state)
    return Status(
        device=agent.identity.device,
        fleet=agent.identity.fleet,
        pid=os.getpid(),
        at=clock.now(),
        monotonic=clock.monotonic(),
        pipelines=[_pipeline(each, clock.monotonic()) for each in agent.pipelines],
        models=[status for model in agent.host.models if (status := _model(agent, model)) is not None],
        processes=list(_processes(agent)),
        link=_link(agent),
        desired=dict(agent.updates.active),
        serving=_serving(agent),
        temperature_c=facts.hottest_c(),
        memory_mib=facts.memory_mib(),
        disk_mib=None if disk is None else disk >> 20,
    )


def latency_of(recent_ms: Iterable[float]) -> Latency | None:
    """Median and 99th percentile; None without a value."""
    values = sorted(recent_ms)
    if not values:
        return None
    return Latency(p50_ms=_quantile(values, 0.5), p99_ms=_quantile(values, 0.99))


def _quantile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def _pipeline(pipeline: Pipeline, now: float) -> PipelineStatus:
    received, dropped = pipeline.came
    processed = sum(each.processed for each in pipeline.health.values())
    errors = sum(each.errors for each in pipeline.health.values())
    return PipelineStatus(
        name=pipeline.name,
        model=pipeline.settings.model,
        state=pipeline.state.value,
        reason=pipeline.reason or pipeline.fault,
        release=pipeline.release,
        received=received,
        processed=processed,
        errors=errors,
        dropped={str(reason): count for reason, count in dropped.items()},
        waiting=max(0, received - processed - errors - sum(dropped.values())),
        latency=latency_of(pipeline.recent_ms),
        busy_s=0.0 if pipeline.busy_since is None else max(0.0, now - pipeline.busy_since),
    )


def _model(agent: Agent, model: str) -> ModelStatus | None:
    served = agent.host.serving(model)
    if served is None:
        return None
    return ModelStatus(
        model=model,
        release=served.release.id,
        variant=served.variant.name,
        runtime=served.variant.runtime.value,
        ailing=agent.host.ailing(model),
        challenger=agent.host.challenger(model),
    )


def _processes(agent: Agent) -> Iterable[ProcessStatus]:
    yield from _process("agent", os.getpid())
    for model in agent.host.models:
        if (served := agent.host.serving(model)) is not None:
            yield from _process(f"model {model}", _pid(served))
        if (challenger := agent.host.challenger_of(model)) is not None:
            yield from _process(f"challenger {model}", _pid(challenger.served))
    if agent.trainer is not None:
        yield from _process("trainer", agent.trainer.pid)


def _process(role: str, pid: int) -> Iterable[ProcessStatus]:
    if pid and (its := taken(pid)) is not None:
        yield ProcessStatus(role=role, pid=pid, cpu_s=round(its.cpu_s, 2), rss_mib=round(its.rss_mib, 1))


def _pid(served: Served) -> int:
    return served.session.pid if isinstance(served.session, Mortal) else 0


def _link(agent: Agent) -> LinkStatus:
    ledgers = {channel.value: agent.outbox.ledger(channel) for channel in CHANNELS}
    return LinkStatus(
        connected=agent.bus.connected,
        sessions=agent.bus.sessions,
        waiting={name: each.pending for name, each in ledgers.items()},
        lost={name: each.dropped for name, each in ledgers.items()},
        durable=agent.outbox.durable,
    )


def _serving(agent: Agent) -> ServingStatus | None:
    serving = agent.serving
    if serving is None:
        return None
    accounts = serving.desk.accounts
    return ServingStatus(
        ports=[each.port for each in serving.servers],
        at_work=serving.gate.inside,
        refused=serving.gate.refused,
        answered={model: each.processed for model, each in accounts.items()},
        errors={model: each.errors for model, each in accounts.items()},
        latency=latency_of(value for each in accounts.values() for value in each.latency_ms),
    )
