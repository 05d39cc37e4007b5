"""What the next round is: its cohort and its deadline, as the ledger and the spec have it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, RecordDict

from cloud.training.draws import candidates, drawn_before
from cloud.training.events import RoundStarted
from cloud.training.ledger import RunLedger
from cloud.training.pace import deadline_s, durations, enough
from cloud.training.selection import draw
from cloud.training.spec import RunSpec
from shared import federation as fed
from shared.clock import Clock
from shared.codec import unpack
from shared.errors import ContractError
from shared.federation import Condition


@runtime_checkable
class Closable(Protocol):
    """A grid that can be told to wait for no more replies."""

    closed: Callable[[], bool]
    """Asked between two looks for replies."""


@runtime_checkable
class Forgetful(Protocol):
    """A grid that keeps questions until it is told that nobody waits for them."""

    def forget(self, message_ids: Iterable[str]) -> None:
        """Answers to these are not wanted any more."""


@dataclass(slots=True, kw_only=True)
class Window:
    """The time in which a round takes updates."""

    started: RoundStarted
    closes: float
    """On the monotonic clock."""

    _enough: Callable[[int], bool]
    accepted: int = 0
    """So far."""

    def is_full(self) -> bool:
        """Whether the round has the updates it is after."""
        return self._enough(self.accepted)

    def is_closed(self, *, now: float) -> bool:
        """Whether it takes no more."""
        return now >= self.closes or self.is_full()


def open_window(
    spec: RunSpec,
    ledger: RunLedger,
    registered: Mapping[str, int],
    number: int,
    *,
    clock: Clock,
    out: Collection[str] = (),
) -> Window:
    """Draw the cohort of round `number`, or repeat the draw of an attempt that was killed; `out` take no part."""
    events = ledger.events()
    known = {device: one for device, one in candidates(events, registered).items() if device not in out}
    drawn = drawn_before(events, number) or draw(
        spec.selection, known, seed=spec.seed, round_=number, fraction=spec.fraction, least=spec.min_devices
    )
    took = durations(events, timeout_s=spec.round_timeout_s)
    wait = deadline_s(spec.pace, took, timeout_s=spec.round_timeout_s)
    return Window(
        started=RoundStarted(
            at=clock.now(),
            round=number,
            cohort=drawn.cohort,
            wanted=drawn.wanted,
            excluded=drawn.excluded,
            deadline_s=wait,
        ),
        closes=clock.monotonic() + wait,
        _enough=lambda accepted: enough(spec.pace, accepted=accepted, wanted=drawn.wanted, least=spec.min_devices),
    )


def condition_of(content: RecordDict) -> Condition | None:
    """What a device says of itself beside an answer; None when it says nothing that can be read."""
    record = content.get(fed.CONFIG)
    data = record.get(fed.CONDITION) if isinstance(record, ConfigRecord) else None
    try:
        return unpack(data, Condition) if isinstance(data, bytes) else None
    except ContractError:  # it only costs the device the benefit of what it would have said
        return None
