"""From a float model to labelled files: what can be run here is run, what cannot says so and carries its proof."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.models.engines import command
from cloud.models.engines.factory import Factory, Made, Outcome
from cloud.models.engines.press import PROBES, Pressed, press
from cloud.models.execute import execute
from cloud.models.parity import Label, ParityBar
from cloud.models.targets import parse_targets
from shared.bundle import UNEXECUTED, Runtime
from shared.clock import VirtualClock
from shared.engine import read_engine
from shared.errors import RefusedError
from tests.models import network

RNG = np.random.default_rng(8)
INPUTS = {
    name: RNG.normal(size=(size, 6, 100)).astype(np.float32) for name, size in (("calibration", 64), ("holdout", 200))
}


class Ready(Factory):
    """Makes an engine of whatever it is asked for."""

    def make(self, targets, sources, *, tell=None):  # type: ignore[no-untyped-def]
        del tell
        return [
            Made(
                target=target,
                outcome=Outcome.MADE,
                data=b"vtrt" + sources[True, target.precision] if target.engine else sources[False, target.precision],
                version="1.7",
                source="0" * 64,
            )
            for target in targets
        ]


def pressed(*names: str, bar: ParityBar | None = None) -> list[Pressed]:
    factory = Ready(directory=Path("/nowhere"), clock=VirtualClock())
    return press(network(), parse_targets(names), factory=factory, bar=bar, **INPUTS)  # type: ignore[arg-type]


def test_files_for_processors_are_run_and_pass() -> None:
    for each in pressed("cpu-fp32", "cpu-int8", "openvino-fp32", "openvino-int8"):
        assert each.finding is not None
        assert each.finding.label is Label.PASSED, each.says
        assert each.file is not None
        assert each.file.label == ""
        assert each.finding.shares["agreement"] >= 0.97


def test_an_engine_is_labelled_and_carries_the_float_models_answers() -> None:
    (engine,) = pressed("sm86-fp16")
    assert engine.file is not None
    assert engine.file.label == UNEXECUTED
    assert (engine.file.runtime, engine.file.hardware) == (Runtime.TENSORRT_RTX, ["sm86"])
    inside = read_engine(engine.data)
    assert np.array_equal(inside.inputs, INPUTS["holdout"][:PROBES])
    truth = execute(network(), Runtime.ONNXRUNTIME, INPUTS["holdout"][:PROBES])
    assert all(np.array_equal(mine, its) for mine, its in zip(inside.answers, truth, strict=True))


def test_what_fails_the_gate_is_not_offered() -> None:
    (failed,) = pressed("cpu-int8", bar=ParityBar(least=1000))
    assert failed.finding is not None
    assert failed.finding.label is Label.FAILED
    assert failed.file is None


def test_the_command_leaves_files_and_their_description(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(network())
    np.savez(tmp_path / "inputs.npz", **INPUTS)
    said: list[str] = []
    status = command.make(
        tmp_path / "model.onnx",
        inputs=tmp_path / "inputs.npz",
        out=tmp_path / "out",
        names=["cpu-int8", "openvino-int8"],
        kind="classification",
        deadline_s=9.0,
        say=said.append,
    )
    assert status == 0
    assert len(said) == 2
    files = json.loads((tmp_path / "out" / command.FILES).read_bytes())
    assert [file["name"] for file in files] == ["cpu-int8.onnx", "openvino-int8.onnx"]
    assert files[0]["digest"] == files[1]["digest"]  # one file, two runtimes
    assert (tmp_path / "out" / "cpu-int8.onnx").exists()
    assert msgspec.json.decode((tmp_path / "out" / command.FILES).read_bytes())


def test_inputs_without_their_arrays_are_refused_with_what_to_do(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=INPUTS["holdout"])
    (tmp_path / "model.onnx").write_bytes(network())
    with pytest.raises(RefusedError, match="files are judged by") as refused:
        command.make(
            tmp_path / "model.onnx", inputs=tmp_path / "inputs.npz", out=tmp_path, names=["cpu-int8"],
            kind="classification", deadline_s=9.0, say=print,
        )  # fmt: skip
    assert "numpy.savez" in refused.value.hint
