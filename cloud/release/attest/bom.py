"""A release's bill of materials: CycloneDX 1.6 with the model's card, its data in words, and the software behind it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cloud.release.attest.envelope import rfc3339
from shared.bundle import Release, Variant
from shared.trust.modelsig import unsigned_digest

SOFTWARE = ("hinterland", "torch", "flwr", "onnx", "onnxruntime", "numpy")
"""What trains, exports and quantises."""


def installed() -> dict[str, str]:
    """Package → version of what is installed of `SOFTWARE`."""
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def bill_of_materials(
    release: Release, *, data: str, by: str, versions: Mapping[str, str], run: str = ""
) -> dict[str, Any]:
    """The document; equal releases have equal ones.

    Args:
        release: its files are the models.
        data: what it was trained on, in words: the data themselves are on devices, or unknown.
        by: who made it, for example `run activity-run-1`.
        versions: package → version of the software that made it.
        run: the federated run; empty for an import.
    """
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:hinterland:release:{unsigned_digest(release)}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(release.created),
            "component": {
                "type": "machine-learning-model",
                "bom-ref": release.id,
                "name": release.model,
                "version": str(release.counter),
                "description": by,
            },
        },
        "components": [
            *(_model(release, variant, trained=bool(run)) for variant in release.variants),
            _data(release, data),
            *(_library(name, held) for name, held in sorted(versions.items())),
        ],
        "dependencies": [
            {"ref": release.id, "dependsOn": [_ref(release, variant) for variant in release.variants]},
            *({"ref": _ref(release, v), "dependsOn": [_data_ref(release)]} for v in release.variants),
        ],
    }


def _model(release: Release, variant: Variant, *, trained: bool) -> dict[str, Any]:
    shares = release.evaluation
    measured = {kind: shares.get(f"{kind}.{variant.name}") for kind in ("accuracy", "agreement")}
    return {
        "type": "machine-learning-model",
        "bom-ref": _ref(release, variant),
        "name": variant.name,
        "version": str(release.counter),
        "hashes": [{"alg": "SHA-256", "content": variant.digest}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": release.schema.kind,
                "datasets": [{"ref": _data_ref(release)}],
                "inputs": [{"format": f"float32 {release.schema.input_shape}"}],
                "outputs": [{"format": f"{release.schema.kind} over {len(release.schema.labels)} labels"}],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": kind, "value": f"{share:.6f}"} for kind, share in measured.items() if share is not None
                ]
            },
        },
        "properties": [
            {"name": "hinterland:precision", "value": variant.precision},
            {"name": "hinterland:runtime", "value": str(variant.runtime)},
            {"name": "hinterland:origin", "value": "federated run" if trained else "import"},
        ],
    }


def _data(release: Release, words: str) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": _data_ref(release),
        "name": f"training data of {release.id}",
        "data": [{"type": "dataset", "name": f"training data of {release.id}", "description": words}],
    }


def _library(name: str, held: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{held}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": held, "purl": purl}


def _ref(release: Release, variant: Variant) -> str:
    return f"{release.id}/{variant.name}"


def _data_ref(release: Release) -> str:
    return f"{release.id}/data"
