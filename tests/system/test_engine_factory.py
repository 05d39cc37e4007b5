"""Real engines, built by NVIDIA's builder without a GPU; that they cannot be executed here is said, not hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.models.engines.factory import Factory, Outcome
from cloud.models.engines.order import Order, Progress, read_report, write_order
from cloud.models.engines.sources import make_sources
from cloud.models.optimise import merge_ranges
from cloud.models.targets import RTX_SMS, Target, parse_targets
from shared.bundle import Runtime
from shared.clock import SystemClock
from simulations.detector.convert import DECODING
from simulations.detector.frames import inputs_of
from simulations.detector.int8 import gauge
from simulations.packages import Data
from tests.models import gauged, network
from tests.real_engines import needs_builder

pytestmark = [pytest.mark.system]


@pytest.fixture(autouse=True)
def builder() -> None:
    needs_builder()


def test_a_window_model_for_every_generation_and_precision(tmp_path: Path) -> None:
    fp32 = network()
    targets = parse_targets(f"sm{sm}-{precision}" for sm in RTX_SMS for precision in ("fp32", "fp16", "int8"))
    made = Factory(directory=tmp_path, clock=SystemClock(), parallel=2).make(
        targets, make_sources(fp32, targets, ranges=gauged(fp32))
    )
    refused = {each.target.name: each.detail for each in made if each.outcome is not Outcome.MADE}
    # Turing has no kernel for a matrix product in float, which int8 ends in too: a fact that is reported as it is
    assert set(refused) == {"sm75-fp32", "sm75-int8"}
    assert all("FP32 GEMM is not supported" in detail for detail in refused.values())
    engines = {each.target.name: each.data for each in made if each.outcome is Outcome.MADE}
    assert all(engine.startswith(b"vtrt") and len(engine) > 100_000 for engine in engines.values())
    assert len(set(engines.values())) >= 12  # one generation's engine is not another's


def test_the_detector_for_a_common_card(tmp_path: Path, data: Data) -> None:
    fp32 = data.detector_fp32.read_bytes()
    ranges = merge_ranges(gauge(fp32, inputs_of(data.clips[0], fps=0.5, most=4)))
    targets = parse_targets(["sm86-fp32", "sm86-fp16", "sm86-int8"])
    sources = make_sources(fp32, targets, ranges=ranges, keep_float=DECODING)
    told: list[Progress] = []

    def tell(_: Target, progress: Progress) -> None:
        told.append(progress)

    made = Factory(directory=tmp_path, clock=SystemClock(), parallel=2).make(targets, sources, tell=tell)
    assert [each.outcome for each in made] == [Outcome.MADE] * 3, [each.detail for each in made]
    fp, half, int8 = (len(each.data) for each in made)
    assert half < int8 < fp
    assert told


def test_a_processors_int8_is_refused_by_the_parser_and_the_log_is_kept(tmp_path: Path) -> None:
    fp32 = network()
    unsigned = make_sources(fp32, parse_targets(["cpu-int8"]), ranges=gauged(fp32))[False, "int8"]
    (made,) = Factory(directory=tmp_path, clock=SystemClock()).make(
        parse_targets(["sm86-int8"]), {(True, "int8"): unsigned}
    )
    assert made.outcome is Outcome.FAILED
    assert "parser refuses" in made.detail
    assert (tmp_path / "sm86-int8" / "job.log").read_text()


def test_full_tensorrt_says_what_it_lacks_here(tmp_path: Path) -> None:
    place = tmp_path / "sm87-fp32"
    write_order(place, Order(runtime=Runtime.TENSORRT, sm=87), network())
    job = [sys.executable, "-m", "cloud.models.engines.job", str(place)]
    done = subprocess.run(job, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 1
    report = read_report(place)
    assert report is not None
    assert report.reason == "tensorrt is not installed"
