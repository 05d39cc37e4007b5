"""The model lines of the loop: what an operator would write into a file and apply."""

from __future__ import annotations

from typing import Any

from cloud.drift.policy import Policy
from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe, ModelLine, Retrain, document_of
from shared.bundle import Schema
from shared.tasks import adapter
from simulations.detector.labels import SCHEMA as DETECTOR
from simulations.scenarios.cast import CANARY, GATES, SHIFTED, WARDS

SOAK_S = 4.0
"""A canary serves this long before the others follow; a real fleet would take hours."""

ACTIVITY, FASHION, DETECTION = "activity", "fashion", "detector"


def activity(*, seed: int, labels: int) -> ModelLine:
    """Exercises from wrist movement; `labels` labelled windows a drifted device must hold before it retrains."""
    return ModelLine(
        name=ACTIVITY,
        task=ACTIVITY,
        schema=_schema(ACTIVITY),
        rounds=5,
        recipe=LocalRecipe(epochs=4, batch_size=32, learning_rate=0.05),
        seed=seed,
        min_devices=4,
        bar=Bar(accuracy=0.6, champion_tolerance=0.05),
        fleets=(WARDS,),
        canaries=(CANARY,),
        soak_s=SOAK_S,
        deadline_s=60.0,
        watch=Policy(threshold=0.8, clear=0.6),
        retrain=Retrain(devices=len(SHIFTED), labels=labels, rounds=4, cooldown_s=60.0, patience_s=120.0),
    )


def fashion(*, seed: int) -> ModelLine:
    """Clothes from small pictures: the second model family, two rounds only."""
    return ModelLine(
        name=FASHION,
        task=FASHION,
        schema=_schema(FASHION),
        rounds=2,
        recipe=LocalRecipe(epochs=1, batch_size=32, learning_rate=0.05),
        seed=seed,
        min_devices=4,
        bar=Bar(accuracy=0.3, drop=0.05, agreement=0.9),
        fleets=(GATES,),
        soak_s=1.0,
        deadline_s=60.0,
    )


def detector() -> ModelLine:
    """Objects in street scenes: imported, not trained here."""
    return ModelLine(name=DETECTION, schema=DETECTOR, fleets=(GATES,), soak_s=1.0, deadline_s=60.0)


def documents(*lines: ModelLine) -> list[dict[str, Any]]:
    """As the API takes them."""
    return [document_of(line) for line in lines]


def _schema(task: str) -> Schema:
    family = adapter(task)
    return Schema(kind="classification", labels=list(family.labels), input_shape=list(family.input_shape))
