"""Drift on real people: no alarm while the wearer stays, an alarm when the wearer or the mount changes."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud.drift.detect import DriftState, observe
from cloud.drift.policy import Policy
from edge.drift.features import sensor_features
from edge.drift.window import DriftSettings, DriftWindow, Observation, Sketches
from shared.messages import DriftReport
from simulations.packages import Data
from simulations.partitions import Parts, Recording, mount, read_watch, shifted_stream, subject_parts

pytestmark = [pytest.mark.system]

ASKEW = mount(roll=25, pitch=-20, yaw=40)
WEARERS = (0, 1, 4, 5, 6, 9)


@pytest.fixture(scope="module")
def recordings(data: Data) -> list[Recording]:
    return read_watch(data.watch)


@pytest.fixture(scope="module")
def parts(recordings: list[Recording]) -> dict[int, Parts]:
    return {subject: subject_parts(recordings, subject=subject, seed=subject) for subject in WEARERS}


def reports(x: NDArray[np.float32], inputs: int) -> Iterator[DriftReport]:
    """What an agent would send; no model runs here, so confidence never moves."""
    window = DriftWindow(pipeline="wrist", model="activity", settings=DriftSettings(inputs=inputs))
    for start in range(0, len(x), 10):
        batch = x[start : start + 10]
        confidence = np.linspace(0.6, 1.0, len(batch)).tolist()
        seen = Observation(
            release="activity-1", features=sensor_features(batch), confidence=confidence, labels=["row"] * len(batch)
        )
        yield from window.add(seen, at=float(start))


def watched(training: NDArray[np.float32]) -> DriftState:
    sketches = Sketches()
    sketches.add(
        Observation(
            release="activity-1",
            features=sensor_features(training),
            confidence=np.tile(np.linspace(0.6, 1.0, 10), len(training) // 10).tolist(),
            labels=[],
        )
    )
    reference = sketches.report(
        pipeline="wrist", model="activity", release="activity-1", since=0.0, until=0.0, reference=True
    )
    state, _ = observe(DriftState(device="d", model="activity", release="activity-1"), reference, Policy())
    return state


def follow(state: DriftState, x: NDArray[np.float32], inputs: int) -> tuple[bool, list[float]]:
    """Whether the alarm was ever raised, and all scores."""
    alarm, scores = False, []
    for report in reports(x, inputs):
        state, score = observe(state, report, Policy())
        alarm |= state.drifted
        scores += [score.value] if score else []
    assert scores
    return alarm, scores


@pytest.mark.parametrize("inputs", [50, 100])
def test_the_same_wearers_later_movements_raise_no_alarm(parts: dict[int, Parts], inputs: int) -> None:
    for subject in WEARERS:
        live = np.concatenate([parts[subject].live.x] * 3)
        alarm, scores = follow(watched(parts[subject].training.x), live, inputs)
        assert not alarm, subject
        assert max(scores) < Policy().threshold


@pytest.mark.parametrize("inputs", [50, 100])
def test_another_wearer_with_a_turned_sensor_always_does(
    recordings: list[Recording], parts: dict[int, Parts], inputs: int
) -> None:
    for subject in WEARERS:
        first, later = shifted_stream(recordings, subject=8, rotation=ASKEW, seed=subject)
        alarm, scores = follow(watched(parts[subject].training.x), np.concatenate([first.x, later.x]), inputs)
        assert alarm, subject
        assert min(scores) > 2 * Policy().threshold


def test_the_same_wearer_with_a_turned_sensor_does(recordings: list[Recording], parts: dict[int, Parts]) -> None:
    for subject in WEARERS:
        first, later = shifted_stream(recordings, subject=subject, rotation=mount(roll=30), seed=1)
        alarm, _ = follow(watched(parts[subject].training.x), np.concatenate([first.x, later.x]), 60)
        assert alarm, subject


def test_a_release_that_learned_the_shifted_stream_is_at_home_in_it(recordings: list[Recording]) -> None:
    for seed in range(4):
        first, later = shifted_stream(recordings, subject=9, rotation=ASKEW, seed=seed)
        alarm, scores = follow(watched(first.x), np.concatenate([later.x] * 2), 60)
        assert not alarm
        assert max(scores) < Policy().clear
