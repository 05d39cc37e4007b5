"""Enrolled devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Text, bindparam, cast, func, select, update

from cloud.store.rows import UnknownError, columns, many, one, write_all
from cloud.store.tables import devices, retired_nodes


class DeviceState(StrEnum):
    """Whether a device may talk to us."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device as it enrolled or renewed last."""

    id: str
    fleet: str
    state: DeviceState
    hardware: list[str]
    runtimes: list[str] = []
    agent: str = ""
    """Version of its agent at enrolment."""

    public_key: bytes
    """DER, SubjectPublicKeyInfo; the same key is its Flower node key."""

    node: str = ""
    """Flower's node id, decimal; empty until the SuperLink knows the key."""

    serial: str
    """Of its newest certificate, decimal."""

    expires_at: float
    enrolled_at: float
    last_seen: float
    revoked_at: float | None = None
    alarm: str = ""
    """Why its key seems to be in two places; empty for none. A new enrolment, with a new key, ends it."""

    alarm_at: float | None = None
    labels: dict[str, str] = {}
    """What operators call it by; `site` says where it stands."""


_LABELS = msgspec.json.Decoder(dict[str, str])


_SEEN = update(devices).where(  # built once, see `cloud.store.inbox`
    devices.c.id == bindparam("of_device"), devices.c.last_seen < bindparam("before")
)


class Standing(NamedTuple):
    """What doors ask of a device; asked of all devices in every turn, so that no more is read."""

    id: str
    fleet: str
    state: DeviceState
    node: str


class Devices:
    """Devices in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, device: Device) -> None:
        """Insert or replace a device."""
        changed = self._connection.execute(update(devices).where(devices.c.id == device.id).values(**columns(device)))
        if changed.rowcount == 0:
            self._connection.execute(devices.insert().values(**columns(device)))

    def find(self, device: str) -> Device | None:
        """The device, or None."""
        return one(self._connection, select(devices).where(devices.c.id == device), Device)

    def get(self, device: str) -> Device:
        """The device.

        Raises:
            UnknownError: there is none of that name.
        """
        found = self.find(device)
        if found is None:
            raise UnknownError(f"no device {device!r}", hint="`hinterland devices` lists them.")
        return found

    def all(self, *, fleet: str | None = None) -> list[Device]:
        """Every device by name, or those of one fleet."""
        query = select(devices).order_by(devices.c.id)
        return many(self._connection, query if fleet is None else query.where(devices.c.fleet == fleet), Device)

    def standing(self) -> list[Standing]:
        """Every device by name, as doors see it."""
        query = select(devices.c.id, devices.c.fleet, devices.c.state, devices.c.node).order_by(devices.c.id)
        rows = self._connection.execute(query)
        return [Standing(name, fleet, DeviceState(state), node) for name, fleet, state, node in rows]

    def standing_said(self) -> str:
        """The same as one text, put together by the database; changes whenever one of them does."""
        each = (devices.c.id + " " + devices.c.fleet + " " + devices.c.state + " " + devices.c.node).label("said")
        rows = select(each).order_by(devices.c.id).subquery()
        return self._connection.scalar(select(func.aggregate_strings(rows.c.said, "\n"))) or ""

    def label(self, device: str, labels: Mapping[str, str]) -> None:
        """Replace what operators call a device by."""
        self._connection.execute(update(devices).where(devices.c.id == device).values(labels=dict(labels)))

    def labels(self, *, fleet: str) -> dict[str, dict[str, str]]:
        """Enrolled device of a fleet → what operators call it by, sorted by name."""
        query = select(devices.c.id, cast(devices.c.labels, Text)).order_by(devices.c.id)
        here = query.where(devices.c.fleet == fleet, devices.c.state == DeviceState.ENROLLED.value)
        read = cache(_LABELS.decode)  # thousands of devices say the same
        return {name: dict(read(labels)) for name, labels in self._connection.execute(here)}

    def enrolled(self, *, fleet: str | None = None) -> list[Device]:
        """Those that may talk to us."""
        return [device for device in self.all(fleet=fleet) if device.state is DeviceState.ENROLLED]

    def bind_node(self, device: str, node: str, *, key: bytes) -> None:
        """Remember the Flower node that carries the device's key, unless the key has changed meanwhile."""
        same = (devices.c.id == device, devices.c.public_key == key)
        self._connection.execute(update(devices).where(*same).values(node=node))

    def rekey(self, device: str, *, key: bytes, serial: str, expires_at: float) -> None:
        """Keep a renewed certificate; a new key has to become a node again."""
        node = self.keep_node(device, key=key)
        values = {"public_key": key, "serial": serial, "expires_at": expires_at, "node": node}
        self._connection.execute(update(devices).where(devices.c.id == device).values(**values))

    def keep_node(self, device: str, *, key: bytes) -> str:
        """The node that carries `key` already, or none; one that carries the device's former key is retired."""
        held = self.find(device)
        if held is None or not held.node or held.public_key == key:
            return held.node if held else ""
        self._connection.execute(retired_nodes.insert().values(node=held.node, device=device))
        return ""

    def retired_nodes(self) -> list[str]:
        """Nodes whose keys no device has any more, and which the federated engine may still know."""
        return list(self._connection.scalars(select(retired_nodes.c.node)))

    def forget_node(self, node: str) -> None:
        """The federated engine has forgotten a retired node."""
        self._connection.execute(retired_nodes.delete().where(retired_nodes.c.node == node))

    def revoke(self, device: str, *, at: float) -> None:
        """Close the door to a device; its rows stay."""
        values = {"state": DeviceState.REVOKED.value, "revoked_at": at}
        self._connection.execute(update(devices).where(devices.c.id == device).values(**values))

    def alarm(self, device: str, text: str, *, at: float) -> None:
        """Note that the device's key seems to be in two places."""
        self._connection.execute(update(devices).where(devices.c.id == device).values(alarm=text, alarm_at=at))

    def seen(self, names: Iterable[str], at: float) -> None:
        """Note that a message of each of these devices came in."""
        rows = [{"of_device": name, "before": at, "last_seen": at} for name in sorted(names)]
        write_all(self._connection, _SEEN, rows)
