"""What exists as far as somebody is concerned: things of fleets that they may not see are unknown, not forbidden."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection

from cloud.access.principal import Action, Principal
from cloud.api.services import Services
from cloud.rollout.state import Rollout
from cloud.store.devices import Device, Devices
from cloud.store.lines import LineRow
from cloud.store.rollouts import Rollouts
from cloud.store.rows import UnknownError
from cloud.store.runs import Run, Runs
from shared.api import Lineage, ModelLineage, RunRequest


class Sight:
    """One caller's view in one transaction."""

    def __init__(self, connection: Connection, parts: Services, by: Principal) -> None:
        self._connection = connection
        self._gate = parts.gate
        self._by = by

    def sees(self, fleet: str) -> bool:
        """Whether a fleet is there."""
        return self._gate.sees(self._by, fleet)

    def require(self, action: Action, fleets: Collection[str]) -> None:
        """Refuse an action unless it is allowed in each of `fleets`.

        Raises:
            ForbiddenError: it is not.
        """
        for fleet in sorted(fleets):
            self._gate.require(self._by, action, fleet=fleet)

    @cached_property
    def devices(self) -> dict[str, Device]:
        """Every visible device by name."""
        return {row.id: row for row in Devices(self._connection).all() if self.sees(row.fleet)}

    @property
    def only(self) -> frozenset[str] | None:
        """Names of the devices that are there; None for all of them."""
        return None if self._by.everywhere else frozenset(self.devices)

    def device(self, device: str) -> Device:
        """One device.

        Raises:
            UnknownError: there is none of that name here.
        """
        # one row, for a fleet may have ten thousand; PostgreSQL takes no text with a zero in it
        found = None if "\0" in device else Devices(self._connection).find(device)
        if found is None or not self.sees(found.fleet):
            raise UnknownError(f"no device {device!r}", hint="`hinterland devices` lists them.")
        return found

    def run(self, run: str) -> Run:
        """One run.

        Raises:
            UnknownError: there is none of that name here.
        """
        found = Runs(self._connection).find(run)
        if found is None or not self.sees_run(found):
            raise UnknownError(f"no run {run!r}", hint="`hinterland runs` lists them.")
        return found

    def sees_run(self, run: Run) -> bool:
        """Whether every device that takes part is there: a run tells of all of them."""
        names = _members(run)
        return self._by.everywhere or (bool(names) and names <= self.devices.keys())

    def rollout(self, rollout: str) -> Rollout:
        """One rollout.

        Raises:
            UnknownError: there is none of that name here.
        """
        found = Rollouts(self._connection).find(rollout)
        if found is None or not self.sees(found.fleet):
            raise UnknownError(f"no rollout {rollout!r}", hint="`hinterland rollouts` lists them.")
        return found

    def subjects(self) -> frozenset[str] | None:
        """Names whose events are there: devices, runs and rollouts; None for those who see every fleet."""
        if self._by.everywhere:
            return None
        runs = {run.id for run in Runs(self._connection).all() if self.sees_run(run)}
        rollouts = {rollout.id for rollout in Rollouts(self._connection).all() if self.sees(rollout.fleet)}
        return frozenset(self.devices.keys() | runs | rollouts)

    def fleets_of(self, run: Run) -> set[str]:
        """Where the members of a run belong."""
        names = _members(run)
        return {row.fleet for row in Devices(self._connection).all() if row.id in names}

    def check_named(self, request: RunRequest) -> None:
        """Refuse an order that names what is not there.

        Raises:
            UnknownError: it does.
        """
        for name in (*request.devices, *request.labels):
            self.device(name)
        if request.start:
            self.run(request.start)

    def line(self, row: LineRow) -> LineRow:
        """A model line without the names of other fleets and their devices."""
        if self._by.everywhere:
            return row
        document: dict[str, Any] = dict(row.document)
        document["fleets"] = [name for name in document.get("fleets", []) if self.sees(name)]
        for field in ("members", "canaries"):
            document[field] = [name for name in document.get(field, []) if name in self.devices]
        return msgspec.structs.replace(row, document=document)

    def lineage(self, found: Lineage) -> Lineage:
        """A lineage without other fleets' part in the training."""
        if self._by.everywhere:
            return found
        return msgspec.structs.replace(found, models=[self._model(model) for model in found.models])

    def _model(self, found: ModelLineage) -> ModelLineage:
        run = None if found.run is None else Runs(self._connection).find(found.run.id)
        shown = found.run if run is not None and self.sees_run(run) else None
        return msgspec.structs.replace(found, run=shown, cohort=[name for name in found.cohort if name in self.devices])


def _members(run: Run) -> set[str]:
    return {str(member.get("device", "")) for member in run.spec.get("members", [])}
