"""Family `devices`: a device that was stolen and is shut out, and a key that is in two places."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from edge.identity import Identity, renew
from shared import topics
from shared.errors import HinterlandError, RefusedError
from shared.ids import DeviceId
from shared.topics import Up
from simulations.scenarios.attacks.ground import GUESTS, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import PATIENCE_S, came, wait

STOLEN, CLONED = DeviceId("stolen-1"), DeviceId("cloned-1")
SILENT_WITHIN_S = 60.0
AFTER_IT = 6
"""Reports of another device without one of the revoked between them: three seconds of life on a quiet machine."""

LINE = "carried"


def attacks(ground: Ground) -> Iterator[Attack]:
    """Real agents in the thief's hands."""
    from simulations.scenarios.attacks import models

    for device in (STOLEN, CLONED):
        ground.enrol(device, fleet=GUESTS)
    ground.roll_out(ground.release(LINE, models.honest(31)), fleet=GUESTS, first=[STOLEN, CLONED])
    agents = {device: ground.agent(device, model=LINE) for device in (STOLEN, CLONED)}
    for agent in agents.values():
        agent.start()
    for device in agents:
        ground.wait_status(device, "active")
        wait(lambda device=device: bool(ground.telemetry_of(device)), what=f"telemetry of {device}")  # type: ignore[misc]
    try:
        yield Attack(
            name="revoked-agent-falls-silent",
            threat=Threat.STOLEN,
            victim="broker and coordinator",
            done="went on reporting with a running agent after the operator had revoked the device",
            control="the honest devices are heard all the time",
            act=lambda: _silence(ground),
        )
        yield Attack(
            name="revoked-reconnects",
            threat=Threat.STOLEN,
            victim="broker",
            done="connected again with the revoked certificate",
            control="a device that was not revoked connects",
            act=lambda: _reconnect(ground),
        )
        yield Attack(
            name="revoked-renews",
            threat=Threat.STOLEN,
            victim="coordinator",
            done="asked for a new certificate with the revoked one",
            control="a device that was not revoked renews",
            act=lambda: _renew(ground),
        )
        agents[STOLEN].kill()
        yield Attack(
            name="cloned-key",
            threat=Threat.CLONED,
            victim="coordinator",
            done="copied a device's whole disk and started a second agent with it while the first one ran",
            control="the device whose key is in one place: no alarm",
            act=lambda: _clone(ground),
        )
    finally:
        for agent in agents.values():
            agent.kill()


def _silence(ground: Ground) -> Seen:
    mark = ground.mark()
    at = time.time()
    ground.client.revoke(STOLEN, reason="stolen")
    took = time.time() - at

    def last() -> float:
        return max((each.at for each in ground.tap.heard[mark:] if f"/d/{STOLEN}/up/" in each.topic), default=at)

    def honest() -> int:
        return sum(each.at > last() for each in ground.telemetry_of(CLONED, after=mark))

    silent = came(lambda: honest() >= AFTER_IT, within_s=SILENT_WITHIN_S + PATIENCE_S)
    return Seen(
        refused=silent and last() - at < SILENT_WITHIN_S,
        observed=f"silent {last() - at:.2f} s after the order (which took {took:.2f} s); "
        f"{honest()} reports of another device since",
        accepted=honest() > 0,
    )


def _reconnect(ground: Ground) -> Seen:
    error = ""
    try:
        with ground.session(STOLEN) as thief:
            said = thief.publish(topics.up(STOLEN, Up.DRIFT), b"still here")
            error = f"the broker: {said}" if "authorized" in said.lower() else ""
    except RefusedError as refusal:
        error = str(refusal)
    ground.enrol("returning-1", fleet=GUESTS)
    with ground.session("returning-1") as honest:
        accepted = honest.publish(topics.up(DeviceId("returning-1"), Up.DRIFT), b"here") != "connection lost"
    return Seen(refused=bool(error), error=error, observed="the revoked certificate was shown", accepted=accepted)


def _renew(ground: Ground) -> Seen:
    error = ""
    try:
        renew(ground.identities[STOLEN], now=time.time)
    except HinterlandError as refusal:
        error = f"{refusal.code}: {refusal}"
    other = ground.identities["returning-1"]
    before = other.certificate_file.read_text()
    renew(other, now=time.time)
    return Seen(
        refused=bool(error),
        error=error,
        observed="no certificate was given",
        accepted=other.certificate_file.read_text() != before,
    )


def _clone(ground: Ground) -> Seen:
    home, copy = ground.world.directory / CLONED, ground.world.directory / f"{CLONED}-copy"
    shutil.copytree(home, copy, symlinks=True, ignore=shutil.ignore_patterns("*-wal", "*-shm", "*.sock"))
    Identity.load(copy / "identity")
    second = ground.agent(CLONED, model=LINE, state=copy)
    second.start()
    try:
        found = came(lambda: bool(_alarm(ground, CLONED)))
    finally:
        second.kill()
    reason = _alarm(ground, CLONED)
    others = [device.id for device in ground.client.devices() if device.id != CLONED and _alarm(ground, device.id)]
    return Seen(
        refused=found,
        error=reason,
        observed=f"alarms: {int(found)} for it, {len(others)} for other devices",
        accepted="honest-1" not in others,
    )


def _alarm(ground: Ground, device: str) -> str:
    """What the coordinator told people about a device's identity."""
    events = [each for each in ground.client.events(limit=5000) if each.kind == "device.cloned"]
    return next((f"{each.text}: {each.data.get('why', '')}" for each in events if each.subject == device), "")
