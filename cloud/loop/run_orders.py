"""Federated runs on order: what they will do, and with whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.loop.privacy import with_spent
from cloud.models.line import ModelLine, line_from
from cloud.store.devices import Device, Devices
from cloud.store.events import Events
from cloud.store.lines import Lines
from cloud.store.quarantine import Quarantine
from cloud.store.runs import OPEN, Run, Runs, RunState
from cloud.training.rules import check_rule, least
from cloud.training.spec import Member, RunSpec, check
from cloud.training.terms import Terms
from cloud.training.tree_terms import check_trees
from shared.api import RunRequest
from shared.errors import ContractError, RefusedError
from shared.task_trees import GrowsTrees
from shared.tasks import adapter as find_adapter

MOST_IMAGINED = 10_000
"""Devices of a rehearsal; a line that asks for more is refused."""

FIXED = frozenset({"run", "task", "members", "model", "start", "champion"})
"""Fields of a specification that an order cannot override."""


def order_run(
    connection: Connection, request: RunRequest, *, fleet: str, at: float, by: str, cause: str = "operator"
) -> Run:
    """Queue a run of a model line; nobody's data moves before a later turn starts it.

    Args:
        connection: of a write transaction.
        request: what is asked; what it leaves out comes from the model line.
        fleet: whose devices train when the line names no fleet.
        at: now, Unix seconds.
        by: actor for the audit log.
        cause: `operator` or `drift`.

    Raises:
        UnknownError: no such line, device, or run to go on from.
        RefusedError: the line is only imported, a run of it is open, a device cannot train yet, or the population
            cannot pay.
        ContractError: an override is none, or contradicts the others.
    """
    line = line_from(Lines(connection).get(request.model).document)
    runs = Runs(connection)
    _check_free(line, runs)
    number = runs.next_number(line.name)
    chosen = _chosen(connection, line, request, fleet)
    out = sorted({held.device for held in Quarantine(connection).all()} & {device.id for device in chosen})
    members = _members(connection, [device for device in chosen if device.id not in out], request.labels)
    if out and len(members) < line.min_devices:
        raise RefusedError(
            f"{len(members)} devices are left, {line.min_devices} are needed: {', '.join(out[:5])} quarantined",
            hint="`hinterland quarantine list` says why, `hinterland quarantine release` lets one back in.",
        )
    spec = _spec(line, request, run=f"{line.name}-run-{number}", members=members, number=number)
    spec = with_spent(connection, spec)
    if request.start:
        runs.get(request.start)
    run = Run(
        id=spec.run,
        model=line.name,
        number=number,
        state=RunState.QUEUED,
        cause=cause,
        reason=request.reason,
        spec=msgspec.to_builtins(spec),
        created_at=at,
    )
    runs.add(run)
    names = [member.device for member in members]
    AuditLog(connection).add(
        at=at,
        actor=by,
        action="run.create",
        subject=run.id,
        reason=request.reason,
        after={"devices": names, "quarantined": out},
    )
    said = f"; left out, for they are quarantined: {', '.join(out)}" if out else ""
    text = f"{run.id} is to train on {len(names)} devices{said}"
    Events(connection).add("run.queued", run.id, text, at=at, cause=cause, devices=names, quarantined=out)
    return run


def spec_of(run: Run) -> RunSpec:
    """The specification of a queued run.

    Its `start` names the run to go on from; the turn that starts it puts the path of that run's weights there, and
    the path of the serving release's float file into `champion`.
    """
    return msgspec.convert(run.spec, RunSpec)


def rehearse(line: ModelLine) -> None:
    """Check that a line's terms of training go together, before anybody orders a run on them.

    As many devices are imagined as the terms ask for at least; how many there are is known when a run is ordered.

    Raises:
        ContractError: a number is out of range, or two terms exclude each other.
        RefusedError: likewise, for a robust rule in a private run; or there is no such task, or its models grow trees,
            which cannot follow these terms.
    """
    terms = line.training
    if terms.privacy is not None and terms.privacy.spent:
        raise ContractError("a model line cannot set 'privacy.spent'", hint="Leave it out: the coordinator knows it.")
    check_rule(terms.rule)
    drawn = math.ceil(least(terms.rule) / terms.fraction) if 0.0 < terms.fraction <= 1.0 else 1
    private = terms.privacy.least if terms.privacy else 1
    size = min(max(line.min_devices, drawn, private, terms.buffer.size, 1), MOST_IMAGINED)
    members = [Member(device=f"device-{number}", node=number) for number in range(1, size + 1)]
    _check(_as_the_line_says(line, run=line.name, members=members))


def _check(spec: RunSpec) -> RunSpec:
    """Return `spec` if it can be run, and its task can follow it."""
    if spec.task and isinstance(find_adapter(spec.task), GrowsTrees):
        check_trees(spec)
    return check(spec)


def _check_free(line: ModelLine, runs: Runs) -> None:
    if not line.task:
        raise RefusedError(f"{line.name} is only imported: its line names no task", hint="Give the line a `task`.")
    busy = [run.id for run in runs.all(model=line.name) if run.state in OPEN]
    if busy:
        raise RefusedError(f"{busy[0]} is not over yet", hint="Wait for it: `hinterland runs watch`.")


def _chosen(connection: Connection, line: ModelLine, request: RunRequest, fleet: str) -> list[Device]:
    """Who takes part: as asked, as the line says, or everybody in its fleets."""
    store = Devices(connection)
    names = request.devices or list(line.members)
    if names:
        return [store.get(name) for name in sorted(set(names))]
    return [device for name in line.fleets or (fleet,) for device in store.enrolled(fleet=name)]


def _members(connection: Connection, devices: Sequence[Device], labels: dict[str, int]) -> list[Member]:
    strikes = Counter(strike.device for strike in Quarantine(connection).strikes())
    for device in devices:
        if not device.node:
            raise RefusedError(
                f"{device.id} is not known to the federated engine",
                hint="A revoked device cannot train; a new one can once the SuperLink answers.",
            )
    return [
        Member(device=device.id, node=int(device.node), labels=labels.get(device.id, 0), strikes=strikes[device.id])
        for device in devices
    ]


def _spec(line: ModelLine, request: RunRequest, *, run: str, members: list[Member], number: int) -> RunSpec:
    fixed = sorted(FIXED & request.overrides.keys())
    unknown = sorted(request.overrides.keys() - set(RunSpec.__struct_fields__))
    if fixed or unknown:
        raise ContractError(f"an order cannot set {(fixed or unknown)[0][:80]!r}")
    base = _as_the_line_says(line, run=run, members=members)
    if request.start and request.overrides.get("warm_start"):
        raise RefusedError("a run goes on from another or warms up, not both", hint="Leave one of them out.")
    asked = {"seed": line.seed + number - 1, "start": request.start} | request.overrides
    if request.start:
        asked["warm_start"] = None  # the run that it goes on from had its own beginning
    try:
        return _check(msgspec.convert(msgspec.to_builtins(base) | asked, RunSpec))
    except (msgspec.ValidationError, RecursionError) as error:
        raise ContractError(f"an override is wrong: {error}") from error


def _as_the_line_says(line: ModelLine, *, run: str, members: list[Member]) -> RunSpec:
    return RunSpec(
        run=run,
        task=line.task,
        model=line.name,
        members=members,
        seed=line.seed,
        rounds=line.rounds,
        local=line.recipe,
        min_devices=line.min_devices,
        bar=line.bar,
        **{name: getattr(line.training, name) for name in Terms.__struct_fields__},
    )
