"""What is kept of an attack: who did what to whom, what the victim said, and whether the honest one got through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Threat(StrEnum):
    """What somebody may try."""

    TAMPERED = "tampered model or chunk"
    REPLAYED = "old release replayed"
    FROZEN = "freeze"
    MIXED = "mix-and-match of metadata"
    ENDLESS = "endless or truncated data"
    FLEET_KEY = "stolen fleet key"
    RELEASE_KEY = "stolen release key"
    ROOT_KEY = "one stolen root key"
    ONLINE_KEY = "stolen timestamp or snapshot key"
    CROSS_FLEET = "cross-fleet model"
    HARDWARE = "wrong hardware target"
    SLOT = "slot edited on disk"
    ONNX = "malicious ONNX"
    BOMB = "archive bomb"
    STOLEN = "stolen device"
    CLONED = "cloned key"
    TOKEN = "enrolment token reuse"  # noqa: S105  a threat, no secret
    CSR = "hostile CSR"
    TOPICS = "another device's topics"
    FORGED = "telemetry forged for another device"
    DUPLICATE = "MQTT replay and duplicate"
    FLOOD = "connect storm, oversized packet, slow reader"
    STRANGER = "a stranger at the API"
    TENANT = "tenant crossing"
    JWT = "JWT confusion"
    ENGINE = "federated engine without our token"
    POISON = "poisoned client update"
    DENIAL = "administrator denying an action"
    LEAK = "secrets in logs, raw frames in telemetry"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One attack that was carried out, or could not be."""

    id: str
    """`<family>.<name>`."""

    family: str
    threat: str
    victim: str
    done: str
    """What the attacker did."""

    refused: bool
    error: str = ""
    """What the victim said, word for word: its log, answer or status message. Empty where silence is the refusal."""

    observed: str = ""
    """What was seen, in counts and states; with `error`, the evidence."""

    control: str
    """What the honest one did."""

    accepted: bool
    seconds: float
    fault: str = ""
    """Why the attack could not be carried out; such a row proves nothing."""

    @property
    def held(self) -> bool:
        """The attack was carried out and refused, and the honest one was accepted."""
        return self.refused and self.accepted and not self.fault and bool(self.error or self.observed)


class AttackReport(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one run."""

    began: float
    seconds: float
    tenant: str
    rows: list[Row]

    @property
    def held(self) -> bool:
        """Whether every attack was refused and every control accepted."""
        return bool(self.rows) and all(row.held for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was observed of one attack and of its control."""

    refused: bool
    accepted: bool
    error: str = ""
    observed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One act, not yet done."""

    name: str
    threat: Threat
    victim: str
    done: str
    control: str
    act: Callable[[], Seen]
    """Raises whatever keeps the attack from being carried out."""
