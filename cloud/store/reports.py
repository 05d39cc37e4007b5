"""What devices report, taken apart into rows that questions can be asked of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from cloud.store.events import Events
from cloud.store.rollouts import Rollouts
from cloud.store.rows import batched, many, write_all
from cloud.store.shadows import Shadows
from cloud.store.tables import device_status, drift_reports, telemetry
from shared.codec import unpack
from shared.errors import ContractError
from shared.messages import DriftReport, Pace, Record, ShadowReport, Stage, Stall, Telemetry, UpdateStatus
from shared.topics import Up

MAX_TEXT = 2_000
"""Characters; reasons carry an error's sentence, names are far shorter."""

_PROSE = ("reason", "text")

MAX_NAME = 80
"""Characters; what the columns for names hold."""

MAX_COUNT = 2**53
"""Beyond it JSON readers lose exactness, and SQL integers end at 2⁶³."""

MAX_REASONS = 32
"""Reasons in one telemetry window; agents know about ten."""

MAX_STALLS = 64
"""Stalls, and changes of pace, of one telemetry window that become events; what takes seconds happens less often."""

_EVENTS = frozenset({"stalls", "paces"})
"""Fields of telemetry that become events and no columns."""

_STATUS_KEY = (device_status.c.device == bindparam("of_device"), device_status.c.model == bindparam("of_model"))

# built once, see `cloud.store.inbox`
_STATUSES = select(device_status).where(device_status.c.device.in_(bindparam("devices", expanding=True)))
_ADD_STATUS, _CHANGE_STATUS = device_status.insert(), update(device_status).where(*_STATUS_KEY)
_ADD_TELEMETRY, _ADD_DRIFT = telemetry.insert(), drift_reports.insert()

T = TypeVar("T", bound=msgspec.Struct)


class Projection:
    """What the reports of a group of devices come to: gathered, then written with one statement for each table.

    A statement for each report costs more than all that it does; thousands of devices report at once.
    """

    def __init__(self, connection: Connection, devices: Iterable[str], *, at: float) -> None:
        """Read how far `devices`, those that will be added, had come; `at` is now, Unix seconds."""
        self._connection = connection
        self._at = at
        self._status: dict[tuple[str, str], dict[str, Any]] = {}
        for names in batched(sorted(devices)):
            for row in connection.execute(_STATUSES, {"devices": list(names)}).mappings():
                self._status[row["device"], row["model"]] = dict(row)
        self._known = set(self._status)
        self._changed: set[tuple[str, str]] = set()
        self._telemetry: list[dict[str, Any]] = []
        self._drift: list[dict[str, Any]] = []
        self._told: list[dict[str, Any]] = []
        self._said: list[tuple[str, UpdateStatus]] = []
        self._shadows = Shadows(connection)
        self._keep: dict[Up, Callable[[str, Record], None]] = {
            Up.TELEMETRY: self._keep_telemetry,
            Up.DRIFT: self._keep_drift,
            Up.UPDATE: self._keep_update,
            Up.SHADOW: self._keep_shadow,
        }

    def add(self, device: str, channel: Up, records: Sequence[Record]) -> int:
        """Gather what new `records` say, in their order; return how many could not be read.

        A record that breaks the contract is acknowledged like any other: the device cannot send a better one.
        """
        malformed = 0
        for record in records:
            try:
                self._keep[channel](device, record)
            except ContractError:
                malformed += 1
        return malformed

    def write(self) -> None:
        """Write all that was gathered."""
        fresh = self._changed - self._known
        write_all(self._connection, _ADD_STATUS, [self._status[key] for key in sorted(fresh)])
        changed = [self._status[key] for key in sorted(self._changed - fresh)]
        mine = [row | {"of_device": row["device"], "of_model": row["model"]} for row in changed]
        write_all(self._connection, _CHANGE_STATUS, mine)
        write_all(self._connection, _ADD_TELEMETRY, self._telemetry)
        write_all(self._connection, _ADD_DRIFT, self._drift)
        Events(self._connection).add_all(self._told)
        Rollouts(self._connection).record(self._said, at=self._at)
        self._shadows.write(at=self._at)

    def _keep_telemetry(self, device: str, record: Record) -> None:
        report = _read(record, Telemetry)
        _check_counts(report.dropped_by, "dropped_by")
        self._told += [_stalled(device, report, stall, self._at) for stall in report.stalls[:MAX_STALLS]]
        self._told += [_paced(device, report, pace, self._at) for pace in report.paces[:MAX_STALLS]]
        values = {field: getattr(report, field) for field in report.__struct_fields__ if field not in _EVENTS}
        self._telemetry.append({"device": device, "received_at": self._at} | values)

    def _keep_drift(self, device: str, record: Record) -> None:
        report = _read(record, DriftReport)
        row = {
            "device": device,
            "model": report.model,
            "release": report.release,
            "reference": report.reference,
            "until": report.until,
            "body": record.body,
            "received_at": self._at,
        }
        self._drift.append(row)

    def _keep_update(self, device: str, record: Record) -> None:
        status = _read(record, UpdateStatus)
        key = (device, status.model)
        before = self._status.get(key)
        row = {
            "device": device,
            "model": status.model,
            "release": status.release,
            "stage": status.stage.value,
            "slot": status.slot,
            "variant": status.variant,
            "reason": status.reason,
            "received": status.received,
            "total": status.total,
            "serving": before["serving"] if before else "",
            "serving_variant": before["serving_variant"] if before else "",
            "at": self._at,
        }
        if status.stage is Stage.ACTIVE:
            row |= {"serving": status.release, "serving_variant": status.variant}
        if before is None or (before["release"], before["stage"]) != (row["release"], row["stage"]):
            self._told.append(_told(device, status, self._at))
        self._status[key] = row
        self._changed.add(key)
        self._said.append((device, status))

    def _keep_shadow(self, device: str, record: Record) -> None:
        self._shadows.add(device, _read(record, ShadowReport))


def _told(device: str, status: UpdateStatus, at: float) -> dict[str, Any]:
    """A step as it stands on the timeline; progress within a step is not news."""
    subject = status.release or "signed metadata"  # what a device says of no release is about all of it
    text = f"{device}: {subject} {status.stage.value}" + (f" ({status.reason})" if status.reason else "")
    said = {"model": status.model, "release": status.release, "stage": status.stage.value, "reason": status.reason}
    data = {"device": device, "slot": status.slot, **said}
    return {"at": at, "kind": f"update.{status.stage.value}", "subject": device, "text": text, "data": data}


def _stalled(device: str, report: Telemetry, stall: Stall, at: float) -> dict[str, Any]:
    """A stall as it stands on the timeline: noticed, or over.

    Raises:
        ContractError: it is none.
    """
    _check_fields(stall)
    over = stall.until > 0
    seconds = max(0.0, (stall.until if over else stall.noticed) - stall.since)
    said = f" ({stall.text})" if stall.text else ""
    text = f"{report.pipeline} {'was' if over else 'is'} {stall.reason} for {seconds:.1f} s"
    data = {"device": device, "pipeline": report.pipeline, "seconds": seconds} | msgspec.structs.asdict(stall)
    kind = "input.back" if over else "input.stalled"
    return {"at": at, "kind": kind, "subject": device, "text": f"{device}: {text}{said}", "data": data}


def _paced(device: str, report: Telemetry, pace: Pace, at: float) -> dict[str, Any]:
    """Another pace as it stands on the timeline.

    Raises:
        ContractError: it is none.
    """
    _check_fields(pace)
    text = f"{device}: {report.pipeline} works on {pace.share:.3g} of its frames" + (
        f" ({pace.reason})" if pace.reason else ""
    )
    data = {"device": device, "pipeline": report.pipeline} | msgspec.structs.asdict(pace)
    return {"at": at, "kind": "input.paced", "subject": device, "text": text, "data": data}


def _check_counts(counts: Mapping[str, int], field: str) -> None:
    if len(counts) > MAX_REASONS or not all(len(name) <= MAX_NAME and "\0" not in name for name in counts):
        raise ContractError(f"{field} holds no short list of names")
    if not all(0 <= count <= MAX_COUNT for count in counts.values()):
        raise ContractError(f"{field} holds what is no count")


def _read(record: Record, kind: type[T]) -> T:
    """Decode a body, and refuse values that a column could not hold: one device's nonsense must not fail a group."""
    report = unpack(record.body, kind)
    _check_fields(report)
    return report


def _check_fields(report: msgspec.Struct) -> None:
    kind = type(report)
    for field in report.__struct_fields__:
        value = getattr(report, field)
        longest = MAX_TEXT if field in _PROSE else MAX_NAME
        if isinstance(value, str) and (len(value) > longest or "\0" in value):
            raise ContractError(f"{field} of a {kind.__name__} is no short text")
        if isinstance(value, int) and not 0 <= value <= MAX_COUNT:
            raise ContractError(f"{field} of a {kind.__name__} is no count")
        if isinstance(value, float) and not math.isfinite(value):
            raise ContractError(f"{field} of a {kind.__name__} is no time")


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
