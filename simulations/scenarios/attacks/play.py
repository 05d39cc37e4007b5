"""Play every attack: one world, family after family, a row for each act."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

from rich.console import Console

from shared.errors import HinterlandError, RefusedError
from simulations.report.attacks import keep, line, summary
from simulations.scenarios.attacks import (
    all_keys,
    at_the_api,
    broker_rights,
    denial,
    engine,
    enrolment,
    floods,
    hostile_models,
    leaks,
    models,
    on_the_way,
    people,
    replayed,
    reports,
    slots,
    stolen_devices,
    stolen_keys,
    tenants,
    updates,
)
from simulations.scenarios.attacks.ground import CALM, FLEETS, HONEST, TENANT, YARD, Ground
from simulations.scenarios.attacks.issuer import Issuer
from simulations.scenarios.attacks.row import Attack, AttackReport, Row, Seen
from simulations.world import leftovers
from simulations.world.world import World

Family = Callable[[Ground], Iterator[Attack]]

LANES: Sequence[Mapping[str, Family]] = (
    {
        "way": on_the_way.attacks,
        "time": replayed.attacks,
        "keys": stolen_keys.attacks,
        "all": all_keys.attacks,
    },
    {
        "updates": updates.attacks,
        "engine": engine.attacks,
        "models": hostile_models.attacks,
        "slots": slots.attacks,
        "enrol": enrolment.attacks,
        "topics": broker_rights.attacks,
        "reports": reports.attacks,
        "devices": stolen_devices.attacks,
        "api": at_the_api.attacks,
        "people": people.attacks,
        "floods": floods.attacks,
        "tenants": tenants.attacks,
        "audit": denial.attacks,
    },
)
"""Two at a time: most of an attack is waiting for what does not happen."""

LAST: Mapping[str, Family] = {"leaks": leaks.attacks}
"""Played when all others are over."""

FAMILIES: Mapping[str, Family] = {**LANES[0], **LANES[1], **LAST}

PATIENT = {f"HINTERLAND_ACCESS_{name}_PER_MINUTE": "1000000" for name in ("FAILURES", "STRANGERS")}
"""All attackers here share one address, with each other and with the honest operator: a coordinator that stopped
listening to it after 60 failures would refuse everything that follows for that reason alone."""

LEAST = 60
"""Rows of the whole set; fewer mean that families were lost."""


def play(*, state: Path, report: Path, only: str, port_base: int, console: Console) -> AttackReport:
    """Play all families, or only one; write the report; stop every process.

    Raises:
        RefusedError: there is no family of that name.
        HinterlandError: the world could not be started.
        KeyboardInterrupt: a person stopped it.
    """
    families = {name: FAMILIES[name] for name in FAMILIES if only in ("", name)}
    if not families:
        raise RefusedError(f"there is no family {only!r} of attacks", hint=f"Choose one of {', '.join(FAMILIES)}.")
    began, rows = time.time(), list[Row]()
    with leftovers.sole_use(state):
        issuer = Issuer(TENANT)
        world = World((state / "attacks").absolute(), port_base=port_base, env={**issuer.environment(), **PATIENT})
        ground = Ground(world, issuer)
        try:
            with console.status("servers: broker, coordinator, SuperLink"):
                begin(ground)
            for row in _rows(ground, families):
                rows.append(row)
                console.print(line(row), soft_wrap=True, highlight=False)
        finally:
            ground.close()
            issuer.close()
            for agent in world.agents.values():
                agent.kill()
            world.stop()
    order = list(FAMILIES)
    rows.sort(key=lambda row: order.index(row.family))
    made = AttackReport(began=began, seconds=time.time() - began, tenant=TENANT, rows=rows)
    keep(made, report)
    console.print(summary(made))
    return made


def passes(report: AttackReport, *, whole: bool) -> bool:
    """Whether every row held; of the whole set there must be enough."""
    return report.held and (not whole or len(report.rows) >= LEAST)


def begin(ground: Ground) -> None:
    """Start the servers, and one device that is served as it should be."""
    ground.world.build(tenant=TENANT, fleets=FLEETS)
    ground.world.start()
    ground.tap.subscribe("hl/1/#")
    ground.enrol(HONEST, fleet=YARD)
    ground.roll_out(ground.release(CALM, models.honest(1)), fleet=YARD)
    ground.agent(HONEST, model=CALM).start()
    ground.wait_status(HONEST, "active")


def _rows(ground: Ground, families: Mapping[str, Family]) -> Iterator[Row]:
    """Play the lanes side by side, then what comes last; yield each row as it is there."""
    lanes = [{name: family for name, family in lane.items() if name in families} for lane in LANES]
    yield from _side_by_side(ground, [lane for lane in lanes if lane])
    for name, family in LAST.items():
        if name in families:
            yield from carry_out(name, family, ground)


def _side_by_side(ground: Ground, lanes: Sequence[Mapping[str, Family]]) -> Iterator[Row]:
    made: Queue[Row | None] = Queue()

    def run(lane: Mapping[str, Family]) -> None:
        for name, family in lane.items():
            for row in carry_out(name, family, ground):
                made.put(row)
        made.put(None)

    for lane in lanes:  # daemons: a person who stops the scenario does not wait for them
        Thread(target=run, args=(lane,), name=f"lane {next(iter(lane))}", daemon=True).start()
    over = 0
    while over < len(lanes):
        row = made.get()
        if row is None:
            over += 1
        else:
            yield row


def carry_out(name: str, family: Family, ground: Ground) -> Iterator[Row]:
    """The rows of one family; what keeps it from being played is a row too."""
    try:
        for attack in family(ground):
            yield one(name, attack)
    except HinterlandError as error:
        yield _fault(name, error)
    except Exception as error:  # a family that breaks must not keep the others from being played
        yield _fault(name, error)


def one(family: str, attack: Attack) -> Row:
    """Carry out one attack."""
    began = time.monotonic()
    try:
        seen, fault = attack.act(), ""
    except Exception as error:  # whatever it is: the attack was not carried out, which the row says
        seen, fault = Seen(refused=False, accepted=False), f"{type(error).__name__}: {error}"
    return Row(
        id=f"{family}.{attack.name}",
        family=family,
        threat=attack.threat,
        victim=attack.victim,
        done=attack.done,
        refused=seen.refused,
        error=seen.error,
        observed=seen.observed,
        control=attack.control,
        accepted=seen.accepted,
        seconds=round(time.monotonic() - began, 3),
        fault=fault,
    )


def _fault(family: str, error: Exception) -> Row:
    return Row(
        id=f"{family}.family",
        family=family,
        threat="",
        victim="",
        done="the family was to be played",
        refused=False,
        control="",
        accepted=False,
        seconds=0.0,
        fault=f"{type(error).__name__}: {error}",
    )
