"""Who is left out of later cohorts: devices whose updates the gate refused too often.

A strike is a round in which the gate refused what a device sent; silence, a failure that the device owns up to, and a
veto of its owner are none. Within a run the decision is a function of its ledger, so that a job which is killed draws
the same cohorts again; across runs the coordinator's database counts, until an operator releases the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloud.training.events import AnyEvent, Cause, RoundFinished, RoundStarted, UpdateAccepted, UpdateRefused


def is_strike(event: UpdateRefused) -> bool:
    """Whether a refusal speaks against the device."""
    return event.cause is Cause.GATE


def is_over(strikes: int, *, limit: int) -> bool:
    """Whether a device with so many strikes is quarantined."""
    return 0 < limit <= strikes


@dataclass(slots=True)
class Conduct:
    """What a run's ledger says of its devices so far."""

    limit: int
    """Strikes before a device is quarantined; 0 for never."""

    prior: Mapping[str, int] = field(default_factory=dict)
    """Device → strikes from earlier runs."""

    _struck: dict[str, set[int]] = field(default_factory=dict)
    _ways: dict[str, float] = field(default_factory=dict)
    _last: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[AnyEvent], *, limit: int, prior: Mapping[str, int] | None = None) -> Conduct:
        """The conduct that `events` tell of."""
        conduct = cls(limit, prior or {})
        for event in events:
            conduct.take(event)
        return conduct

    def take(self, event: AnyEvent) -> None:
        """Go on by one event; a round that is told again after a kill counts once."""
        match event:
            case RoundStarted():
                self._ways = {}
            case UpdateAccepted():
                self._ways[event.device] = event.way
            case UpdateRefused() if is_strike(event):
                self._struck.setdefault(event.device, set()).add(event.round)
            case RoundFinished():
                self._last = [way for _, way in sorted(self._ways.items())]

    @property
    def ways(self) -> list[float]:
        """How far each accepted update of the last committed round went, by device name."""
        return list(self._last)

    def strikes(self, device: str, *, before: int) -> int:
        """Strikes of a device, those of rounds before `before` and of earlier runs."""
        here = sum(1 for number in self._struck.get(device, ()) if number < before)
        return self.prior.get(device, 0) + here

    def quarantined(self, devices: Iterable[str], *, before: int) -> list[str]:
        """Which of `devices` take no part in round `before`, sorted.

        Only earlier rounds decide: a round that is done again has the cohort that it had.
        """
        return sorted(name for name in devices if is_over(self.strikes(name, before=before), limit=self.limit))
