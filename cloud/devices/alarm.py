"""One identity in two places: said once, to people, and, if the policy says so, ended."""

from __future__ import annotations

import logging
from enum import StrEnum

from sqlalchemy import Connection

from cloud.audit.log import AuditLog
from cloud.devices.succession import Evidence
from cloud.store.certificates import Certificates
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.events import Events

log = logging.getLogger(__name__)

ACTOR = "coordinator"


class OnClone(StrEnum):
    """What to do about a device whose key seems to be in two places."""

    ALARM = "alarm"
    REVOKE = "revoke"


def raise_alarm(connection: Connection, device: Device, evidence: Evidence, *, at: float, on_clone: OnClone) -> None:
    """Alarm once per enrolment: more evidence says nothing new, and only a new key ends it.

    The doors follow in the next turn of the coordinator's loop.
    """
    if device.alarm or device.state is not DeviceState.ENROLLED:
        return
    log.warning("%s may have been cloned: %s", device.id, evidence)
    Devices(connection).alarm(device.id, evidence.value, at=at)
    AuditLog(connection).add(at=at, actor=ACTOR, action="device.alarm", subject=device.id, reason=evidence.value)
    Events(connection).add("device.cloned", device.id, f"{device.id} seems to be in two places", at=at, why=evidence)
    if on_clone is OnClone.REVOKE:
        shut_out(connection, device, at=at, actor=ACTOR, reason=f"cloned: {evidence}")


def shut_out(connection: Connection, device: Device, *, at: float, actor: str, reason: str) -> None:
    """Revoke a device and every certificate it holds; the caller opens and shuts the doors."""
    Devices(connection).revoke(device.id, at=at)
    Certificates(connection).supersede(device.id, at=at)
    states = {"before": {"state": device.state.value}, "after": {"state": DeviceState.REVOKED.value}}
    AuditLog(connection).add(at=at, actor=actor, action="device.revoke", subject=device.id, reason=reason, **states)
    Events(connection).add("device.revoked", device.id, f"{device.id} was shut out", at=at, reason=reason)
