"""How far each client of each round is: a projection of the ledger's events.

    selected ─► training ─► uploaded
                   ├─► late           the round closed without it
                   └─► failed         no answer, an error or a veto of the device, or an update that was refused
    quarantined                       left out for its strikes until an operator releases it

`selected` is the state of who is drawn and not yet asked; a repeated round begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from cloud.training.events import (
    AnyEvent,
    ClientAsked,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateRefused,
)


class ClientState(StrEnum):
    """Where a client of a round is."""

    SELECTED = "selected"
    TRAINING = "training"
    UPLOADED = "uploaded"
    LATE = "late"
    QUARANTINED = "quarantined"
    FAILED = "failed"


class ClientProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One client in one round."""

    state: ClientState
    at: float
    """Since when, Unix seconds."""

    reason: str = ""
    """Why it is late, quarantined or failed."""

    examples: int = 0
    """Its update stands for."""


class RoundProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    round: int
    clients: dict[str, ClientProgress] = {}
    excluded: dict[str, str] = {}
    """Device that was not to be drawn → why."""

    finished: bool = False


def advance(rounds: dict[int, RoundProgress], event: AnyEvent) -> dict[int, RoundProgress]:
    """The rounds after one more event; an event of a round nobody began changes nothing."""
    match event:
        case RoundStarted():
            begun = ClientProgress(state=ClientState.TRAINING, at=event.at)
            out = ClientProgress(
                state=ClientState.QUARANTINED, at=event.at, reason="too many of its updates were refused"
            )
            clients = dict.fromkeys(event.cohort, begun) | dict.fromkeys(event.quarantined, out)
            return rounds | {
                event.round: RoundProgress(round=event.round, clients=clients, excluded=dict(event.excluded))
            }
        case ClientAsked() if event.round in rounds:
            old, asked = rounds[event.round], ClientProgress(state=ClientState.TRAINING, at=event.at)
            return rounds | {event.round: msgspec.structs.replace(old, clients=old.clients | {event.device: asked})}
        case UpdateAccepted():
            done = ClientProgress(state=ClientState.UPLOADED, at=event.at, examples=event.examples)
            return _put(rounds, event.round, event.device, done)
        case UpdateLate():
            late = ClientProgress(state=ClientState.LATE, at=event.at, reason="the round had enough without it")
            return _put(rounds, event.round, event.device, late)
        case UpdateRefused():
            return _refuse(rounds, event)
        case RoundFinished() if event.round in rounds:
            return rounds | {event.round: msgspec.structs.replace(rounds[event.round], finished=True)}
        case _:
            return rounds


def project(events: Iterable[AnyEvent]) -> dict[int, RoundProgress]:
    """Every round that a ledger tells of."""
    rounds: dict[int, RoundProgress] = {}
    for event in events:
        rounds = advance(rounds, event)
    return rounds


def _refuse(rounds: dict[int, RoundProgress], event: UpdateRefused) -> dict[int, RoundProgress]:
    before = rounds[event.round].clients.get(event.device) if event.round in rounds else None
    if before is not None and before.state is ClientState.UPLOADED:
        return rounds  # its evaluation failed; its update is part of the sum all the same
    return _put(
        rounds, event.round, event.device, ClientProgress(state=ClientState.FAILED, at=event.at, reason=event.reason)
    )


def _put(
    rounds: dict[int, RoundProgress], round_: int, device: str, client: ClientProgress
) -> dict[int, RoundProgress]:
    if round_ not in rounds or device not in rounds[round_].clients:
        return rounds
    old = rounds[round_]
    return rounds | {round_: msgspec.structs.replace(old, clients=old.clients | {device: client})}
