"""A real engine on its way: built, signed, distributed, proven byte by byte, and refused where it cannot run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cloud.models.engines.factory import Factory
from cloud.models.engines.press import press
from cloud.models.targets import parse_targets
from edge.inference.host import ModelHost
from edge.inference.onnx_runtime import OnnxSession
from edge.inference.tensorrt_runtime import load
from shared.bundle import UNEXECUTED, Runtime
from shared.clock import SystemClock
from shared.nvidia import gpu
from simulations.detector.convert import DECODING
from simulations.detector.frames import inputs_of
from simulations.packages import Data
from tests.models import network
from tests.real_engines import needs_builder

pytestmark = [pytest.mark.system]

BOTH = [Runtime.TENSORRT_RTX, Runtime.ONNXRUNTIME]


@pytest.fixture(scope="module")
def window_engine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    needs_builder()
    windows = np.random.default_rng(1).normal(size=(60, 6, 100)).astype(np.float32)
    factory = Factory(directory=tmp_path_factory.mktemp("builds"), clock=SystemClock())
    (made,) = press(
        network(labels=2), parse_targets(["sm86-fp16"]), factory=factory, calibration=windows, holdout=windows
    )
    assert made.data, made.says
    return made.data


async def ship(update_world, running, engine: bytes, *, hardware: list[str], unexecuted: bool, sm):  # type: ignore[no-untyped-def]
    """First a file for processors, which serves; then one release with that file and an engine."""
    world, device = update_world, update_world.device
    device.hardware, device.runtimes, device.unexecuted = hardware, BOTH, unexecuted
    host = ModelHost(
        {
            Runtime.ONNXRUNTIME: OnnxSession.from_bytes,
            Runtime.TENSORRT_RTX: partial(load, runtime=Runtime.TENSORRT_RTX, sm=sm),
        }
    )
    device.restart(host)
    onnx = network(labels=2)
    async with running(*world.parts):
        world.release(1, onnx)
        await world.desire(activity="activity-1")
        await device.reconciler.reconcile_once()
        built = world.variant(
            engine, name="sm86-fp16.engine", hardware="sm86", runtime=Runtime.TENSORRT_RTX, label=UNEXECUTED
        )
        world.offer(2, [world.variant(onnx), built])
        await world.desire(activity="activity-2")
        await device.reconciler.reconcile_once()
    serving = host.serving("activity")
    assert serving is not None
    await host.close()
    return device, serving


async def test_a_device_of_another_generation_never_asks_for_it(update_world, running, window_engine: bytes) -> None:
    device, serving = await ship(
        update_world, running, window_engine, hardware=["cpu", "sm89"], unexecuted=True, sm=lambda: 89
    )
    assert (serving.release.id, serving.variant.name) == ("activity-2", "cpu.onnx")
    assert any("falls back to cpu.onnx on onnxruntime" in reason for reason in device.reasons("activity-2"))


async def test_a_device_whose_owner_does_not_admit_it_takes_the_file_that_was_run(
    update_world, running, window_engine: bytes
) -> None:
    _, serving = await ship(
        update_world, running, window_engine, hardware=["cpu", "sm86"], unexecuted=False, sm=lambda: 86
    )
    assert serving.variant.name == "cpu.onnx"


async def test_a_device_that_is_not_what_it_says_refuses_it_and_the_old_release_serves(
    update_world, running, window_engine: bytes
) -> None:
    """All is signed and whole, and came over the wire; the GPU is another one than the settings say."""
    device, serving = await ship(
        update_world, running, window_engine, hardware=["cpu", "sm86"], unexecuted=True, sm=lambda: 89
    )
    assert serving.release.id == "activity-1"
    assert device.stages("activity-2")[-1] == "rolled-back"
    assert any("the engine is for SM86, this device's GPU is SM89" in each for each in device.reasons("activity-2"))


async def test_this_machine_without_a_gpu_refuses_it(update_world, running, window_engine: bytes) -> None:
    if gpu():
        pytest.skip("this machine has a GPU, which this test is not about")
    device, serving = await ship(
        update_world, running, window_engine, hardware=["cpu", "sm86"], unexecuted=True, sm=gpu
    )
    assert serving.release.id == "activity-1"
    assert any("no NVIDIA GPU answers here" in each for each in device.reasons("activity-2"))


async def test_the_detectors_engine_comes_whole_and_is_refused_too(
    update_world, running, data: Data, tmp_path: Path
) -> None:
    needs_builder()
    frames = np.concatenate(inputs_of(data.vtest, fps=0.2, most=8))
    factory = Factory(directory=tmp_path / "builds", clock=SystemClock())
    (made,) = press(
        data.detector_fp32.read_bytes(),
        parse_targets(["sm86-fp16"]),
        factory=factory,
        calibration=frames,
        holdout=frames,
        kind="detection",
        keep_float=DECODING,
    )
    assert made.data, made.says
    device, serving = await ship(
        update_world, running, made.data, hardware=["cpu", "sm86"], unexecuted=True, sm=lambda: 120
    )
    assert serving.release.id == "activity-1"
    assert any("the engine is for SM86, this device's GPU is SM120" in each for each in device.reasons("activity-2"))
