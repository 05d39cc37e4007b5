import numpy as np
import pytest

from edge.drift.features import features_for, image_features, sensor_features
from shared.bundle import Schema
from shared.errors import ContractError


def _schema(shape: list[int]) -> Schema:
    return Schema(kind="classification", labels=["a"], input_shape=shape)


def test_a_sensor_window_becomes_level_and_spread_per_channel() -> None:
    batch = np.stack([np.tile([0.0, 2.0], (6, 50)), np.ones((6, 100))]).astype(np.float32)
    features = sensor_features(batch)
    assert len(features) == 12
    assert features["ch5.mean"].tolist() == [1, 1]
    assert features["ch5.std"].tolist() == [1, 0]


def test_a_turned_sensor_moves_the_levels() -> None:
    still = np.zeros((4, 6, 100), np.float32)
    still[:, 2] = 1.0  # gravity along z
    turned = still[:, [0, 2, 1, 3, 4, 5]]
    assert sensor_features(still)["ch2.mean"].tolist() == [1] * 4
    assert sensor_features(turned)["ch2.mean"].tolist() == [0] * 4


def test_an_image_becomes_brightness_contrast_and_sharpness() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((3, 300, 300), 0.5, np.float32)
    noisy = rng.normal(size=(3, 300, 300)).astype(np.float32)
    features = image_features(np.stack([flat, noisy]))
    assert sorted(features) == ["brightness", "contrast", "sharpness"]
    assert features["brightness"][0] == pytest.approx(0.5)
    assert (features["contrast"][0], features["sharpness"][0]) == (pytest.approx(0, abs=1e-6), pytest.approx(0))
    assert features["sharpness"][1] > 1
    assert all(values.shape == (2,) for values in features.values())


def test_small_images_are_looked_at_whole() -> None:
    features = image_features(np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32))
    assert np.isfinite(np.stack(list(features.values()))).all()


def test_the_shape_decides() -> None:
    assert features_for(_schema([6, 100])) is sensor_features
    assert features_for(_schema([3, 30, 30])) is image_features
    with pytest.raises(ContractError, match="shape"):
        features_for(_schema([10]))
