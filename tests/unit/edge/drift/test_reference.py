from pathlib import Path

import numpy as np
import pytest

from edge.drift.reference import LEAST_LABELLED, build_reference
from edge.inference.host import Served
from edge.inference.memory_runtime import MemorySession
from shared.sketch import Sketch
from tests.models import SHAPE, place


@pytest.fixture
def served(tmp_path: Path) -> Served:
    def logits(batch: np.ndarray) -> list[np.ndarray]:
        mean = batch.mean(axis=(1, 2))
        return [np.stack([-mean, mean], axis=1)]

    release, variant, _ = place(tmp_path, b"model")
    return Served(release=release, variant=variant, session=MemorySession(logits, input_shape=SHAPE))


def test_a_reference_holds_training_features_and_holdout_answers(served: Served) -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(150, *SHAPE)).astype(np.float32)
    holdout = np.concatenate([np.ones((50, *SHAPE)), -np.ones((20, *SHAPE))]).astype(np.float32)
    report = build_reference(served, pipeline="p", training=training, holdout=holdout, at=5.0)
    assert report.reference
    assert (report.model, report.release, report.count, report.until) == ("toy", "toy-1", 150, 5.0)
    assert report.classes == {"high": 50, "low": 20}
    assert Sketch.from_bytes(report.confidence).count == 70
    assert {Sketch.from_bytes(data).count for data in report.features.values()} == {150}
    assert sorted(report.features) == [f"ch{i}.{kind}" for i in range(3) for kind in ("mean", "std")]


def test_labelled_live_inputs_are_the_yardstick_once_there_are_enough(served: Served) -> None:
    holdout = np.ones((10, *SHAPE), np.float32)

    def median(labelled: int) -> float:
        training = np.concatenate([np.zeros((100, *SHAPE)), np.ones((labelled, *SHAPE))]).astype(np.float32)
        report = build_reference(served, pipeline="p", training=training, holdout=holdout, at=0.0, labelled=labelled)
        return Sketch.from_bytes(report.features["ch0.mean"]).quantile(0.1)

    assert median(LEAST_LABELLED - 1) == 0
    assert median(LEAST_LABELLED) == 1
