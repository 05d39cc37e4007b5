"""What can be attested of a release, and how each kind of statement is called outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kinds of predicates, by the names that a policy uses."""

    PROVENANCE = "provenance"
    """How the files came to be: SLSA provenance, version 1."""

    EVALUATION = "evaluation"
    """How good they are on data that devices held out."""

    PARITY = "parity"
    """What optimised files lost against the float one."""

    BOM = "bom"
    """What is in them and what made them: CycloneDX, as machine-learning bill of materials."""


PREDICATES: dict[Kind, str] = {
    Kind.PROVENANCE: "https://slsa.dev/provenance/v1",
    Kind.EVALUATION: "urn:hinterland:predicate:evaluation:v1",
    Kind.PARITY: "urn:hinterland:predicate:parity:v1",
    Kind.BOM: "https://cyclonedx.org/bom",
}
"""Kind → in-toto predicate type."""


class Origin(StrEnum):
    """Where a release comes from, which decides what it needs."""

    TRAINED = "trained"
    """A federated run of this coordinator."""

    IMPORTED = "imported"
    """An operator, who trained it elsewhere."""

    RESTORED = "restored"
    """An older release of a run whose bytes are brought back: it was admitted once, and must not wait."""

    REIMPORTED = "reimported"
    """The same of one that an operator brought: it is held to the papers that were asked of it then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A statement whose signature was verified; what it says is still to be judged."""

    kind: Kind
    attestor: str
    """Id of the key that signed."""

    subjects: Mapping[str, str]
    """Name → SHA-256 of what it is about."""

    predicate: Mapping[str, Any]
    made_at: float
    """Unix seconds: when what it tells was found out."""
