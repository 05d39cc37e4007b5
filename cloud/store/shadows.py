"""What shadows saw, added up as it comes in: by device for people, by wave for the gates."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, select, update

from cloud.rollout.evidence import Evidence, evidence_of
from cloud.rollout.state import TERMINAL
from cloud.store.tables import rollout_devices, rollouts, shadow_evidence, shadow_waves
from shared.codec import pack, unpack
from shared.messages import ShadowReport


class Shadows:
    """Evidence in one transaction; a gate reads one row, however many devices its wave has."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, device: str, report: ShadowReport, *, at: float) -> None:
        """Add what a challenger did on a device to every rollout that is under way with it there.

        Raises:
            ContractError: the report contradicts itself.
        """
        seen = evidence_of(report)
        mine = (
            select(rollout_devices.c.rollout, rollout_devices.c.wave)
            .join(rollouts, rollouts.c.id == rollout_devices.c.rollout)
            .where(rollout_devices.c.device == device, rollouts.c.release == report.release)
            .where(rollouts.c.state.not_in([state.value for state in TERMINAL]))
            .where(rollouts.c.wave >= rollout_devices.c.wave)  # nobody has asked the others to compare anything
        )
        for rollout, wave in self._connection.execute(mine).all():
            for table, key in ((shadow_evidence, {"device": device}), (shadow_waves, {"wave": wave})):
                self._add(table, {"rollout": rollout} | key, seen, at=at)

    def wave(self, rollout: str, wave: int) -> Evidence:
        """What all devices of a wave have seen together."""
        held = self._held(shadow_waves, _where(shadow_waves, {"rollout": rollout, "wave": wave}))
        return held or Evidence()

    def devices(self, rollout: str) -> dict[str, Evidence]:
        """Device → what it has seen."""
        query = select(shadow_evidence.c.device, shadow_evidence.c.body).where(shadow_evidence.c.rollout == rollout)
        return {device: unpack(body, Evidence) for device, body in self._connection.execute(query)}

    def _add(self, table: Table, key: dict[str, str | int], seen: Evidence, *, at: float) -> None:
        where = _where(table, key)
        held = self._held(table, where)
        if held is None:
            self._connection.execute(table.insert().values(body=pack(seen), at=at, **key))
        else:
            self._connection.execute(update(table).where(*where).values(body=pack(held + seen), at=at))

    def _held(self, table: Table, where: list[ColumnElement[bool]]) -> Evidence | None:
        body = self._connection.scalar(select(table.c.body).where(*where))
        return None if body is None else unpack(body, Evidence)


def _where(table: Table, key: dict[str, str | int]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]
