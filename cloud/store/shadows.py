"""What shadows saw, added up as it comes in: by device for people, by wave for the gates."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Table, bindparam, select, update

from cloud.rollout.evidence import Evidence, evidence_of
from cloud.rollout.state import TERMINAL
from cloud.store.rows import write_all
from cloud.store.tables import rollout_devices, rollouts, shadow_evidence, shadow_waves
from shared.codec import pack, unpack
from shared.messages import ShadowReport

# built once, see `cloud.store.inbox`
_MINE = (
    select(rollout_devices.c.rollout, rollout_devices.c.wave)
    .join(rollouts, rollouts.c.id == rollout_devices.c.rollout)
    .where(rollout_devices.c.device == bindparam("of_device"), rollouts.c.release == bindparam("of_release"))
    .where(rollouts.c.state.not_in([state.value for state in TERMINAL]))
    .where(rollouts.c.wave >= rollout_devices.c.wave)  # nobody has asked the others to compare anything
)


class _Sums:
    """One table of evidence, with what is new since the transaction began."""

    def __init__(self, table: Table, key: str) -> None:
        where = [table.c[name] == bindparam(f"of_{name}") for name in ("rollout", key)]
        self._key = key
        self._read = select(table.c.body).where(*where)
        self._add, self._change = table.insert(), update(table).where(*where)

    def read(self, connection: Connection, rollout: str, of: str | int) -> Evidence | None:
        """What is there."""
        body = connection.scalar(self._read, {"of_rollout": rollout, f"of_{self._key}": of})
        return None if body is None else unpack(body, Evidence)

    def write(self, connection: Connection, new: Mapping[tuple[str, str | int], Evidence], *, at: float) -> None:
        """Add what is new to what is there."""
        fresh, changed = [], []
        for (rollout, of), seen in sorted(new.items()):
            held = self.read(connection, rollout, of)
            if held is None:
                fresh.append({"rollout": rollout, self._key: of, "body": pack(seen), "at": at})
            else:
                mine = {"of_rollout": rollout, f"of_{self._key}": of}
                changed.append(mine | {"body": pack(held + seen), "at": at})
        write_all(connection, self._add, fresh)
        write_all(connection, self._change, changed)


_BY_DEVICE, _BY_WAVE = _Sums(shadow_evidence, "device"), _Sums(shadow_waves, "wave")


class Shadows:
    """Evidence in one transaction; a gate reads one row, however many devices its wave has."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._devices: dict[tuple[str, str | int], Evidence] = {}
        self._waves: dict[tuple[str, str | int], Evidence] = {}

    def add(self, device: str, report: ShadowReport) -> None:
        """Gather what a challenger did on a device, for every rollout that is under way with it there.

        Raises:
            ContractError: the report contradicts itself.
        """
        seen = evidence_of(report)
        mine = {"of_device": device, "of_release": report.release}
        for rollout, wave in self._connection.execute(_MINE, mine).all():
            for sums, key in ((self._devices, (rollout, device)), (self._waves, (rollout, wave))):
                sums[key] = sums[key] + seen if key in sums else seen

    def write(self, *, at: float) -> None:
        """Add what was gathered to what is there."""
        _BY_DEVICE.write(self._connection, self._devices, at=at)
        _BY_WAVE.write(self._connection, self._waves, at=at)
        self._devices, self._waves = {}, {}

    def wave(self, rollout: str, wave: int) -> Evidence:
        """What all devices of a wave have seen together."""
        return _BY_WAVE.read(self._connection, rollout, wave) or Evidence()

    def devices(self, rollout: str) -> dict[str, Evidence]:
        """Device → what it has seen."""
        query = select(shadow_evidence.c.device, shadow_evidence.c.body).where(shadow_evidence.c.rollout == rollout)
        return {device: unpack(body, Evidence) for device, body in self._connection.execute(query)}
