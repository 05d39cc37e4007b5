"""What each attestation says, from what the coordinator has on record. Counts and spreads, never a device's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from cloud.release.attest.envelope import MADE_AT, rfc3339
from cloud.store.runs import Round, Run
from shared.bundle import Release

FEDERATED = "urn:hinterland:build:federated-run:v1"
IMPORTED = "urn:hinterland:build:import:v1"

DATA_POLICY = (
    "Examples stay on the devices. Statistics of inputs, weight updates, ranges of activations and counts over "
    "hold-outs left them; each update passed a gate on shapes, finiteness and example counts before it was summed."
)

IMPORT_POLICY = "Not known here: the model was trained elsewhere."


def provenance(
    release: Release,
    run: Run,
    rounds: Sequence[Round],
    *,
    base: str,
    builder: str,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """SLSA provenance of a federated run: what it was asked, what it began with, who carried it out.

    Args:
        release: what came of it.
        run: as the database has it.
        rounds: its closed rounds.
        base: digest of the weights it went on from; empty when it started afresh.
        builder: URI of this coordinator.
        versions: package → version of the software that trained.
    """
    spec, result = run.spec, run.result
    asked = ("task", "seed", "rounds", "fraction", "local", "rule", "strategy", "min_devices", "bar")
    return {
        "buildDefinition": {
            "buildType": FEDERATED,
            "externalParameters": {
                "model": run.model,
                "run": run.id,
                "cause": run.cause,  # its reason is free text, and drift's names devices
                **{name: spec.get(name) for name in asked},
            },
            "internalParameters": {
                "devices": len(result.get("devices", {})),
                "examples": sum(result.get("devices", {}).values()),
                "cohorts": [len(row.cohort) for row in rounds],
                "roundDigests": [row.digest for row in rounds],
                "weights": result.get("digest", ""),
                "dataPolicy": DATA_POLICY,
            },
            "resolvedDependencies": [*_base(base, spec.get("start", "")), *_packages(versions)],
        },
        "runDetails": _run_details(
            builder, run.id, versions, started=run.started_at or run.created_at, finished=run.finished_at
        )
        | _byproducts(release),
    }


def import_provenance(
    release: Release, *, by: str, reason: str, builder: str, versions: Mapping[str, str]
) -> dict[str, Any]:
    """SLSA provenance of an import: who brought it, and that nothing further is known."""
    return {
        "buildDefinition": {
            "buildType": IMPORTED,
            "externalParameters": {"model": release.model, "importedBy": by, "reason": reason},
            "internalParameters": {"dataPolicy": IMPORT_POLICY},
            "resolvedDependencies": [],
        },
        "runDetails": _run_details(builder, release.id, versions, started=release.created, finished=release.created)
        | _byproducts(release),
    }


def evaluation(release: Release, *, by: str, at: float, run: Run | None = None) -> dict[str, Any] | None:
    """What the files get right on held-out data; None when nobody measured it.

    Args:
        release: its own `evaluation` has the shares.
        by: `federated hold-out`, or who reports figures from elsewhere.
        at: when they were found out, Unix seconds.
        run: where the devices' parts are on record.
    """
    shares, result = release.evaluation, run.result if run else {}
    measured = {v.name: shares[f"accuracy.{v.name}"] for v in release.variants if f"accuracy.{v.name}" in shares}
    if not shares:
        return None
    return {
        MADE_AT: rfc3339(at),
        "method": by,
        "devices": len(result.get("holdouts", {})),
        "examples": int(shares.get("examples", 0)),
        "accuracy": measured,
        "spread": {name: _spread(result.get("holdouts", {}), name) for name in measured},
        "champion": shares.get("accuracy.champion"),
        "figures": dict(sorted(shares.items())),
        "thresholds": run.spec.get("bar", {}) if run else {},
    }


def parity(release: Release, *, by: str, at: float) -> dict[str, Any] | None:
    """What optimised files lose against the float one; None when there is no figure, or nothing to compare."""
    shares = release.evaluation
    baseline = next((v.name for v in release.variants if v.precision == "fp32"), "")
    optimised = [v.name for v in release.variants if v.name != baseline]
    compared = {name: _loss(shares, name, baseline) for name in optimised}
    compared = {name: figures for name, figures in compared.items() if figures}
    if not baseline or (not compared and "parity" not in shares):
        return None
    return {
        MADE_AT: rfc3339(at),
        "method": by,
        "baseline": baseline,
        "logitDifference": shares.get("parity"),
        "variants": compared,
    }


def _loss(shares: Mapping[str, float], name: str, baseline: str) -> dict[str, float]:
    found = {}
    if f"accuracy.{name}" in shares and f"accuracy.{baseline}" in shares:
        found["accuracyLost"] = shares[f"accuracy.{baseline}"] - shares[f"accuracy.{name}"]
    if f"agreement.{name}" in shares:
        found["agreement"] = shares[f"agreement.{name}"]
    return found


def _spread(holdouts: Mapping[str, Mapping[str, float]], name: str) -> dict[str, float]:
    """Least, middle and most accuracy over the devices."""
    shares = [figures[name] for figures in holdouts.values() if name in figures]
    return {"least": min(shares), "median": median(shares), "most": max(shares)} if shares else {}


def _base(digest: str, run: str) -> list[dict[str, Any]]:
    return [{"name": f"weights of {run}", "digest": {"sha256": digest}}] if digest else []


def _packages(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"uri": f"pkg:pypi/{name}@{version}"} for name, version in sorted(versions.items())]


def _run_details(
    builder: str, invocation: str, versions: Mapping[str, str], *, started: float, finished: float | None
) -> dict[str, Any]:
    return {
        "builder": {"id": builder, "version": {"hinterland": versions.get("hinterland", "")}},
        "metadata": {
            "invocationId": invocation,
            "startedOn": rfc3339(started),
            "finishedOn": rfc3339(finished if finished is not None else started),
        },
    }


def _byproducts(release: Release) -> dict[str, Any]:
    return {"byproducts": [{"name": v.name, "digest": {"sha256": v.digest}} for v in release.variants]}
