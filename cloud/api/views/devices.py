"""Devices with the state of their models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import Connection

from cloud.rollout.desired import desired
from cloud.store.devices import Device as DeviceRow
from cloud.store.devices import Devices
from cloud.store.reports import DeviceStatus, statuses
from cloud.store.rollouts import Rollouts
from shared.api import Device, DeviceModel
from shared.bundle import FleetDesired


def device_views(connection: Connection) -> list[Device]:
    """Every device by name."""
    rows = Devices(connection).all()
    wanted = {fleet: fleet_desired(connection, fleet) for fleet in {row.fleet for row in rows}}
    said: dict[str, list[DeviceStatus]] = {}
    for status in statuses(connection):
        said.setdefault(status.device, []).append(status)
    return [_view(row, wanted[row.fleet], said.get(row.id, [])) for row in rows]


def device_view(connection: Connection, device: str) -> Device:
    """One device.

    Raises:
        UnknownError: there is none of that name.
    """
    row = Devices(connection).get(device)
    return _view(row, fleet_desired(connection, row.fleet), statuses(connection, device=device))


def fleet_desired(connection: Connection, fleet: str) -> FleetDesired:
    """What the fleet should run now."""
    return desired(fleet, Rollouts(connection).all(fleet=fleet))


def _view(row: DeviceRow, wanted: FleetDesired, said: Iterable[DeviceStatus]) -> Device:
    models = _models(wanted.for_device(row.id), {status.model: status for status in said})
    return msgspec.structs.replace(msgspec.convert(row, Device, from_attributes=True), models=models)


def _models(wanted: Mapping[str, str], said: Mapping[str, DeviceStatus]) -> list[DeviceModel]:
    return [_model(name, wanted.get(name, ""), said.get(name)) for name in sorted({*wanted, *said})]


def _model(name: str, wanted: str, status: DeviceStatus | None) -> DeviceModel:
    if status is None:
        return DeviceModel(model=name, desired=wanted)
    return DeviceModel(
        model=name,
        desired=wanted,
        serving=status.serving,
        release=status.release,
        stage=status.stage.value,
        slot=status.slot,
        variant=status.serving_variant or status.variant,
        reason=status.reason,
        at=status.at,
    )
