"""What a release must have before it is published, and whether one has it: Binary Authorization for models.

Pure: attestations come with their signatures verified, time is an argument. `admission.toml` in the coordinator's
directory holds the policy; `cloud.release.policy_file` reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from cloud.release.attest.kinds import Attestation, Kind, Origin

DAY_S = 86_400.0

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Days = Annotated[float, msgspec.Meta(ge=0)]


class Demand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What releases of one origin must have; a limit at 0 (at 1 for shares lost) asks nothing."""

    require: tuple[Kind, ...] = (Kind.PROVENANCE, Kind.EVALUATION, Kind.PARITY, Kind.BOM)
    """Kinds of attestations that must be there, each signed by a trusted attestor."""

    least_accuracy: Share = 0.0
    """Share of held-out examples that every file must get right, 0 to 1."""

    least_examples: Count = 0
    """Held-out examples behind that share."""

    least_devices: Count = 0
    """Devices that judged."""

    most_accuracy_lost: Share = 1.0
    """Accuracy that an optimised file may lose against the float one, 0 to 1."""

    least_agreement: Share = 0.0
    """Share of held-out examples on which an optimised file must say what the float one says, 0 to 1."""

    max_age_days: Days = 0.0
    """Days since what is attested was found out; 0 for any age."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this coordinator's releases need."""

    attestors: dict[str, str] = {}
    """Name → public key, PEM, of those whose attestations count; the coordinator's own attestor alone when empty."""

    trained: Demand = Demand(
        least_accuracy=0.3,
        least_examples=50,
        least_devices=2,
        most_accuracy_lost=0.05,
        least_agreement=0.85,
        max_age_days=30.0,
    )
    """Of releases from federated runs. The bar of each model line has been cleared by then and is usually higher."""

    imported: Demand = Demand(require=(Kind.PROVENANCE, Kind.BOM))
    """Of releases that an operator brings. What is measured elsewhere is attested, but not asked for."""

    format: int = 1


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a release breaks."""

    rule: str
    """Its place in the policy, for example `trained.least_accuracy`."""

    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def decide(
    policy: Policy,
    attestations: Sequence[Attestation],
    *,
    origin: Origin,
    about: Mapping[str, str],
    files: Collection[str],
    trusted: Collection[str],
    at: float,
) -> list[Violation]:
    """Say which rules a release breaks; with none it may be published.

    Args:
        policy: what is asked.
        attestations: all there are of the release, signatures verified.
        origin: where the release comes from.
        about: name → SHA-256 of its files and manifest, which every attestation must name alike.
        files: which of these names are files of the model.
        trusted: ids of the keys whose attestations count.
        at: now, Unix seconds.
    """
    good = [a for a in attestations if a.attestor in trusted and dict(a.subjects) == dict(about)]
    imported = origin in (Origin.IMPORTED, Origin.REIMPORTED)
    demand = policy.imported if imported else policy.trained
    rules = _Rules("imported" if imported else "trained", demand)
    there = {a.kind for a in good}
    missing = [rules.missing(kind, attestations, trusted) for kind in demand.require if kind not in there]
    if origin in (
        Origin.RESTORED,
        Origin.REIMPORTED,
    ):  # held to its papers; its figures were judged when it was first published
        return missing
    return missing + [broken for a in good for broken in rules.broken(a, files, at=at)]  # none may break one


@dataclass(frozen=True, slots=True)
class _Rules:
    """The demand of one origin, under the name that violations carry."""

    name: str
    demand: Demand

    def missing(self, kind: Kind, held: Sequence[Attestation], trusted: Collection[str]) -> Violation:
        """Say why an attestation that is asked for does not count."""
        same = [a for a in held if a.kind is kind]
        if not same:
            why = f"there is no attestation of {kind}"
        elif not any(a.attestor in trusted for a in same):
            why = f"nobody whom the policy trusts attests its {kind}; {same[0].attestor[:12]} does"
        else:
            why = f"the attestation of {kind} is about other files"
        return self._violation("require", why)

    def broken(self, held: Attestation, files: Collection[str], *, at: float) -> list[Violation]:
        """What one attestation says against the release."""
        days, most = (at - held.made_at) / DAY_S, self.demand.max_age_days
        text = f"the {held.kind} is {days:.1f} days old, over {most:g}"
        old = [self._violation("max_age_days", text)] if most and days > most else []
        match held.kind:
            case Kind.EVALUATION:
                return old + self._evaluation(held.predicate, files)
            case Kind.PARITY:
                return old + self._parity(held.predicate)
            case _:
                return old

    def _evaluation(self, said: Mapping[str, Any], files: Collection[str]) -> list[Violation]:
        """Figures under the least that is asked."""
        demand = self.demand
        shares = said.get("accuracy")
        measured = {name: _number(shares.get(name) if isinstance(shares, dict) else None) for name in sorted(files)}
        found = [
            self._violation("least_accuracy", f"{name} gets {share:.3f} right, under {demand.least_accuracy:g}")
            for name, share in measured.items()
            if demand.least_accuracy and not share >= demand.least_accuracy
        ]
        for rule, least in (("examples", demand.least_examples), ("devices", demand.least_devices)):
            if least and not _number(said.get(rule)) >= least:
                found.append(self._violation(f"least_{rule}", f"judged on {said.get(rule)} {rule}, under {least}"))
        return found

    def _parity(self, said: Mapping[str, Any]) -> list[Violation]:
        """Optimised files that lost too much."""
        demand, found, variants = self.demand, [], said.get("variants")
        for name, figures in sorted(variants.items() if isinstance(variants, dict) else []):
            lost, agreed = _number(figures.get("accuracyLost")), _number(figures.get("agreement"))
            if demand.most_accuracy_lost < 1 and not lost <= demand.most_accuracy_lost:
                text = f"{name} loses {lost:.3f} of accuracy, over {demand.most_accuracy_lost:g}"
                found.append(self._violation("most_accuracy_lost", text))
            if demand.least_agreement and not agreed >= demand.least_agreement:
                text = f"{name} agrees with the float file in {agreed:.3f}, under {demand.least_agreement:g}"
                found.append(self._violation("least_agreement", text))
        return found

    def _violation(self, rule: str, detail: str) -> Violation:
        return Violation(f"{self.name}.{rule}", detail)


def _number(said: object) -> float:
    """A figure; NaN, which clears no limit, for anything else."""
    return float(said) if isinstance(said, int | float) else float("nan")
