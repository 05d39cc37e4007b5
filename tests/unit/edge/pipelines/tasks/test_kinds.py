"""Kinds of models by name: ours, those of other packages, and those that nobody knows."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.drift.answers import VALUE, answer_features
from edge.inference.host import Served
from edge.inference.kinds import check_kind, find, together
from edge.inference.memory_runtime import MemorySession
from edge.inference.warmup import warm_up
from edge.pipelines.sources.port import Sample
from edge.pipelines.step import infer
from edge.pipelines.tasks.interpret import Interpreter
from shared.bundle import Reading, Release, Runtime, Schema, Variant
from shared.errors import FaultError

EXAMPLE = Path(__file__).parents[5] / "docs" / "examples" / "loudness"

LOUD = Schema(
    kind="loudness",
    labels=["quiet", "loud"],
    input_shape=[1, 8],
    reading=Reading(threshold=60.0, unit="dB", tolerance=1.0),
)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as an installer leaves it: its module, and the entry point that names it."""
    (tmp_path / "loudness.py").write_text((EXAMPLE / "loudness.py").read_text())
    info = tmp_path / "loudness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loudness\nVersion: 1.0\n")
    entries = "[hinterland.kinds]\nloudness = loudness:TASK\nbroken = loudness:NOTHING\nanomaly = loudness:TASK\n"
    (info / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(tmp_path))
    find.cache_clear()
    yield
    sys.modules.pop("loudness", None)
    find.cache_clear()


def _level(batch: np.ndarray) -> list[np.ndarray]:
    return [20 * np.log10(np.abs(batch).max(axis=(1, 2))[:, np.newaxis] + 1e-6)]


def test_the_documented_example_is_short() -> None:
    assert len((EXAMPLE / "loudness.py").read_text().splitlines()) < 80


@pytest.mark.usefixtures("installed")
def test_another_package_brings_a_kind() -> None:
    session = MemorySession(_level, input_shape=[1, 8])
    warm_up(session, LOUD)
    variant = Variant(
        name="m.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest="", size=1, chunks=[]
    )
    release = Release(id="room-1", model="room", counter=1, schema=LOUD, variants=[variant], created=0)
    samples = [Sample(id=f"s:{index}", x=np.full((1, 8), 5000.0, np.float32), at=0, ready=0) for index in range(2)]
    samples[1].x[0, ::2] += 4000  # the offset of 5,000 alone is silence
    served = Served(release=release, variant=variant, session=session)
    outcome = infer(served, samples, Interpreter(threshold=0.5))
    quiet, loud = outcome.answers
    assert quiet is not None
    assert loud is not None
    assert (quiet.labels, loud.labels, loud.unit) == (("quiet",), ("loud",), "dB")
    np.testing.assert_allclose(answer_features(outcome.answers)[VALUE], [quiet.value, loud.value])


@pytest.mark.usefixtures("installed")
def test_what_the_package_refuses_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(FaultError, match="too loud"):
        check_kind(Schema(kind="loudness", labels=["a", "b"], input_shape=[1, 8]))


@pytest.mark.usefixtures("installed")
def test_no_package_replaces_a_kind_of_ours() -> None:
    assert type(find("anomaly")).__name__ == "Anomaly"


@pytest.mark.usefixtures("installed")
def test_a_package_that_does_not_load_is_said() -> None:
    with pytest.raises(FaultError, match="broken"):
        find("broken")


def test_a_kind_that_nobody_knows_is_said_with_a_remedy() -> None:
    with pytest.raises(FaultError, match="smell") as refused:
        check_kind(Schema(kind="smell", labels=[], input_shape=[1]))
    assert "hinterland.kinds" in refused.value.hint


@pytest.mark.parametrize(
    ("kind", "expected"), [("classification", True), ("detection", False), ("anomaly", True), ("regression", True)]
)
def test_which_kinds_are_answered_together(kind: str, expected: bool) -> None:
    assert together(Schema(kind=kind, labels=[], input_shape=[1])) is expected
