"""All checks, in the order in which one rests upon the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edge import settings as conf
from edge.facts import Facts
from edge.identity import Identity
from edge.operate.doctor import disk, inputs, link, models, time_and_trust
from edge.operate.doctor.finding import Finding, fail, ok, warn
from edge.operate.doctor.patient import Patient
from edge.operate.settings_check import find_faults
from edge.operate.status import Status
from edge.operate.status_socket import watch
from shared.clock import Clock
from shared.errors import HinterlandError

CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    disk.check_rights,
    disk.check_disk,
    time_and_trust.check_clock,
    time_and_trust.check_identity,
    link.check_broker,
    link.check_outbox,
    time_and_trust.check_trust,
    models.check_runtimes,
    models.check_memory,
    models.check_isolation,
    inputs.check_sources,
    inputs.check_serving,
)


def examine(config: Path, *, facts: Facts, clock: Clock) -> Iterator[Finding]:
    """Each finding as it is made; a check that fails itself is a finding too."""
    try:
        settings = conf.read(config)
    except HinterlandError as error:
        for line in str(error).splitlines():
            yield fail("settings", line, error.hint)
        return
    faults = find_faults(settings)
    for fault in faults:
        yield fail("settings", f"{config}: {fault}", "docs/devices.md explains each field.")
    if not faults:
        yield ok("settings", str(config))
    patient = Patient(
        config=config,
        settings=settings,
        facts=facts,
        clock=clock,
        identity=_identity(settings),
        status=_status(settings),
    )
    yield _agent(patient)
    for check in CHECKS:
        try:
            yield from check(patient)
        except (OSError, HinterlandError) as error:
            yield fail(
                check.__name__.removeprefix("check_"), f"could not be looked at: {error}", "Run it as the agent's user."
            )


def _identity(settings: conf.Settings) -> Identity | None:
    try:
        return Identity.load(settings.state / "identity")
    except (OSError, HinterlandError):
        return None


def _status(settings: conf.Settings) -> Status | None:
    try:
        return next(watch(settings.state, within_s=3.0), None)
    except HinterlandError:
        return None


def _agent(patient: Patient) -> Finding:
    if patient.status is None:
        return warn(
            "agent", "none runs with these settings", "systemctl start hinterland-agent, or `hinterland-agent run`"
        )
    serving = ", ".join(each.release for each in patient.status.models) or "nothing yet"
    return ok("agent", f"runs as process {patient.status.pid} and serves {serving}")
