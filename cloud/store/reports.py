"""What devices report, taken apart into rows that questions can be asked of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from cloud.store.events import Events
from cloud.store.rollouts import Rollouts
from cloud.store.rows import many
from cloud.store.shadows import Shadows
from cloud.store.tables import device_status, drift_reports, telemetry
from shared.codec import unpack
from shared.errors import ContractError
from shared.messages import DriftReport, Record, ShadowReport, Stage, Telemetry, UpdateStatus
from shared.topics import Up

MAX_TEXT = 2_000
"""Characters; reasons carry an error's sentence, names are far shorter."""

MAX_NAME = 80
"""Characters; what the columns for names hold."""

MAX_COUNT = 2**53
"""Beyond it JSON readers lose exactness, and SQL integers end at 2⁶³."""

_MINE = (device_status.c.device == bindparam("of_device"), device_status.c.model == bindparam("of_model"))

# built once, see `cloud.store.inbox`
_STEP = select(device_status.c.release, device_status.c.stage).where(*_MINE)
_ADD_STATUS, _CHANGE_STATUS = device_status.insert(), update(device_status).where(*_MINE)
_ADD_TELEMETRY, _ADD_DRIFT = telemetry.insert(), drift_reports.insert()

T = TypeVar("T", bound=msgspec.Struct)


def project(connection: Connection, device: str, channel: Up, records: Sequence[Record], *, at: float) -> int:
    """Keep what new `records` say, in their order; return how many could not be read.

    A record that breaks the contract is acknowledged like any other: the device cannot send a better one.
    """
    keep = _PROJECTIONS[channel]
    malformed = 0
    for record in records:
        try:
            keep(connection, device, record, at)
        except ContractError:
            malformed += 1
    return malformed


def _keep_telemetry(connection: Connection, device: str, record: Record, at: float) -> None:
    report = _read(record, Telemetry)
    values = {field: getattr(report, field) for field in report.__struct_fields__}
    connection.execute(_ADD_TELEMETRY, {"device": device, "received_at": at} | values)


def _keep_drift(connection: Connection, device: str, record: Record, at: float) -> None:
    report = _read(record, DriftReport)
    row = {
        "device": device,
        "model": report.model,
        "release": report.release,
        "reference": report.reference,
        "until": report.until,
        "body": record.body,
        "received_at": at,
    }
    connection.execute(_ADD_DRIFT, row)


def _keep_update(connection: Connection, device: str, record: Record, at: float) -> None:
    status = _read(record, UpdateStatus)
    values = {
        "release": status.release,
        "stage": status.stage.value,
        "slot": status.slot,
        "variant": status.variant,
        "reason": status.reason,
        "received": status.received,
        "total": status.total,
        "at": at,
    }
    if status.stage is Stage.ACTIVE:
        values |= {"serving": status.release, "serving_variant": status.variant}
    if _put_status(connection, device, status.model, values):
        _tell(connection, device, status, at)
    Rollouts(connection).record(device, status, at=at)


def _keep_shadow(connection: Connection, device: str, record: Record, at: float) -> None:
    Shadows(connection).add(device, _read(record, ShadowReport), at=at)


def _tell(connection: Connection, device: str, status: UpdateStatus, at: float) -> None:
    """Put a step on the timeline; progress within a step is not news."""
    subject = status.release or "signed metadata"  # what a device says of no release is about all of it
    text = f"{device}: {subject} {status.stage.value}" + (f" ({status.reason})" if status.reason else "")
    said = {"model": status.model, "release": status.release, "stage": status.stage.value, "reason": status.reason}
    Events(connection).add(f"update.{status.stage.value}", device, text, at=at, device=device, slot=status.slot, **said)


def _put_status(connection: Connection, device: str, model: str, values: dict[str, str | int | float]) -> bool:
    """Keep a device's newest word; whether it is about another step than the one before."""
    mine = {"of_device": device, "of_model": model}
    before = connection.execute(_STEP, mine).first()
    if before is not None:
        connection.execute(_CHANGE_STATUS, mine | values)
    else:
        first = {"device": device, "model": model, "serving": "", "serving_variant": ""}
        connection.execute(_ADD_STATUS, first | values)
    return before is None or tuple(before) != (values["release"], values["stage"])


def _read(record: Record, kind: type[T]) -> T:
    """Decode a body, and refuse values that a column could not hold: one device's nonsense must not fail a group."""
    report = unpack(record.body, kind)
    for field in report.__struct_fields__:
        value = getattr(report, field)
        longest = MAX_TEXT if field == "reason" else MAX_NAME
        if isinstance(value, str) and (len(value) > longest or "\0" in value):
            raise ContractError(f"{field} of a {kind.__name__} is no short text")
        if isinstance(value, int) and not 0 <= value <= MAX_COUNT:
            raise ContractError(f"{field} of a {kind.__name__} is no count")
        if isinstance(value, float) and not math.isfinite(value):
            raise ContractError(f"{field} of a {kind.__name__} is no time")
    return report


_PROJECTIONS: dict[Up, Callable[[Connection, str, Record, float], None]] = {
    Up.TELEMETRY: _keep_telemetry,
    Up.DRIFT: _keep_drift,
    Up.UPDATE: _keep_update,
    Up.SHADOW: _keep_shadow,
}


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device is with one model."""

    device: str
    model: str
    release: str
    stage: Stage
    slot: str
    variant: str
    reason: str
    received: int
    total: int
    serving: str
    """The release it last reported active; empty for none yet."""

    serving_variant: str
    at: float


def statuses(connection: Connection, *, device: str | None = None) -> list[DeviceStatus]:
    """Every device's state with every model, or one device's."""
    query = select(device_status).order_by(device_status.c.device, device_status.c.model)
    return many(connection, query if device is None else query.where(device_status.c.device == device), DeviceStatus)
