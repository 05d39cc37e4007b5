"""An autoencoder that has learned one exercise, from samples to what leaves the device, on people it never saw."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge.inference.host import ModelHost
from edge.inference.onnx_runtime import OnnxSession
from edge.pipelines.hooks import Hooks
from edge.pipelines.pipeline import Pipeline, PipelineSettings
from edge.pipelines.tasks.interpret import Interpreter
from shared.anomaly import RECONSTRUCTION, scores, threshold_for
from shared.bundle import Reading, Schema, Signal
from shared.clock import SystemClock
from shared.messages import DriftReport, Telemetry
from shared.sketch import Sketch
from simulations.packages import Data
from simulations.partitions import Recording, read_watch
from tests.models import place
from tests.sensors import sensor

pytestmark = [pytest.mark.system]

PENDULUM = 0
TRAINED, CALIBRATED, SEEN = range(6), range(6, 8), range(8, 10)
ALARMS = 0.05
NAMES = ["ax", "ay", "az", "gx", "gy", "gz"]


def _windows(recordings: Sequence[Recording]) -> np.ndarray:
    views = [np.lib.stride_tricks.sliding_window_view(each.x, 100, axis=0)[::25] for each in recordings]
    return np.concatenate(views).astype(np.float32)


def _train(x: np.ndarray) -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    net = nn.Sequential(
        nn.Conv1d(6, 24, 9, stride=4, padding=4),
        nn.ReLU(),
        nn.Conv1d(24, 12, 5, stride=5, padding=2),
        nn.ReLU(),
        nn.ConvTranspose1d(12, 24, 5, stride=5),
        nn.ReLU(),
        nn.ConvTranspose1d(24, 6, 4, stride=4),
    )
    step, data = torch.optim.Adam(net.parameters(), 3e-3), torch.from_numpy(x)
    for _ in range(25):
        for chosen in torch.randperm(len(data)).split(64):
            loss = (net(data[chosen]) - data[chosen]).square().mean()
            step.zero_grad()
            loss.backward()
            step.step()
    return net.eval()


def _onnx(net: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net, (torch.zeros(2, 6, 100),), buffer, input_names=["x"], output_names=["again"], dynamo=False,
            dynamic_axes={"x": {0: "batch"}, "again": {0: "batch"}}, external_data=False,
        )  # fmt: skip
    return buffer.getvalue()


def _table(path: Path, recordings: Sequence[Recording]) -> dict[str, object]:
    """Raw samples as a logger writes them: acceleration in mg, and a pause of some seconds between two recordings."""
    with path.open("w") as file:
        print("time", *NAMES, sep=",", file=file)
        began = 0.0
        for each in recordings:
            for index, row in enumerate(each.x * [1e3, 1e3, 1e3, 1, 1, 1]):
                print(began + index / 50, *row, sep=",", file=file)
            began += len(each.x) / 50 + 7
    units = ["mg"] * 3 + ["rad/s"] * 3
    channels = [{"name": name, "unit": unit} for name, unit in zip(reversed(NAMES), reversed(units), strict=True)]
    return {"kind": "csv", "path": str(path), "channels": channels, "speed": 0, "window": {"stride": 50}}


async def _play(
    host: ModelHost, settings: dict[str, object], schema: Schema
) -> tuple[dict[str, int], list[DriftReport]]:
    told: list[object] = []
    pipeline = Pipeline(
        PipelineSettings(name="wrist", model="odd"),
        source=sensor(settings, schema),
        host=host,
        emit=lambda _, message: told.append(message),
        clock=SystemClock(),
        hooks=Hooks(interpret=Interpreter(threshold=0.5)),
    )
    await pipeline.run()
    telemetry = [message for message in told if isinstance(message, Telemetry)]
    counts = {label: sum(each.counts.get(label, 0) for each in telemetry) for label in schema.labels}
    received = sum(each.received for each in telemetry)
    assert received == sum(each.processed + each.errors + each.dropped for each in telemetry) == sum(counts.values())
    return counts, [message for message in told if isinstance(message, DriftReport)]


async def test_other_exercises_are_anomalies_to_a_model_of_one(data: Data, tmp_path: Path) -> None:
    recordings = read_watch(data.watch)

    def of(subjects: range, *, known: bool) -> list[Recording]:
        return [each for each in recordings if each.subject in subjects and (each.label == PENDULUM) is known]

    training = _windows(of(TRAINED, known=True))
    mean, std = training.mean(axis=(0, 2)), training.std(axis=(0, 2))

    def scaled(x: np.ndarray) -> np.ndarray:
        return ((x - mean[:, np.newaxis]) / std[:, np.newaxis]).astype(np.float32)

    model = _onnx(_train(scaled(training)))
    calibration = scaled(_windows(of(CALIBRATED, known=True)))
    (again,) = OnnxSession.from_bytes(model).run(calibration)
    least = threshold_for(scores(RECONSTRUCTION, again, calibration), alarms=ALARMS)
    schema = Schema(
        kind="anomaly",
        labels=["normal", "odd"],
        input_shape=[6, 100],
        mean=mean.tolist(),
        std=std.tolist(),
        signal=Signal(rate=50.0, channels=NAMES, units=["g"] * 3 + ["rad/s"] * 3),
        reading=Reading(threshold=least),
    )
    host = ModelHost(OnnxSession.from_bytes)
    await host.activate("odd", *place(tmp_path, model, model="odd", schema=schema))

    known, calm = await _play(host, _table(tmp_path / "known.csv", of(SEEN, known=True)), schema)
    others, stirred = await _play(host, _table(tmp_path / "others.csv", of(SEEN, known=False)), schema)
    await host.close()
    assert sum(known.values()) > 50
    assert sum(others.values()) > 300
    assert known["odd"] < 0.2 * sum(known.values())  # calibrated on other people: more than the 5 % asked for
    assert others["odd"] > 0.7 * sum(others.values())
    medians = [Sketch.from_bytes(side[0].features["answer.value"]).quantile(0.5) for side in (calm, stirred)]
    assert medians[0] < least < medians[1]
