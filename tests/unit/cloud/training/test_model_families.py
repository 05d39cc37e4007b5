"""Families that are not ours, and families without torch, go the whole way: trained, exported, quantised, judged."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe
from cloud.models.variants import FLOAT, INT8
from shared.modelfile import check_model
from shared.task import Examples
from shared.tasks import GROUP, adapter
from tests.in_process_run import devices, run

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "docs" / "examples" / "bearing"
MOST_LINES = 60


def windows(count, shape, classes, seed):
    """Each class has a mean of its own in every channel, and vibrates harder than the one before."""
    source = np.random.default_rng(seed)
    means = np.random.default_rng(0).normal(size=(classes, shape[0], 1))
    y = source.integers(0, classes, count)
    x = source.normal(size=(count, *shape)) * (1.0 + 0.2 * y.reshape(-1, 1, 1)) + means[y]
    return Examples(x.astype(np.float32), y.astype(np.int64))


def parts(shape, classes, count=3):
    return [(windows(90, shape, classes, 2 * n), windows(40, shape, classes, 2 * n + 1)) for n in range(count)]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example as pip would install it: its module on the path, its entry points beside it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "bearing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"][GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")
    (tmp_path / "site" / "bearing.py").write_text((EXAMPLE / "bearing.py").read_text())
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("bearing", None)


def test_a_model_of_ones_own_goes_the_whole_way(installed, tmp_path):
    assert "bearing" in {entry.name for entry in entry_points(group=GROUP)}
    stores = devices(tmp_path, "bearing", parts((3, 64), 3))
    local = LocalRecipe(epochs=2, batch_size=16, learning_rate=0.05)
    bar = Bar(accuracy=0.8)
    result = run(tmp_path / "run", stores, task="bearing", seed=5, rounds=6, local=local, bar=bar)
    assert FLOAT in result.admitted, result.summary
    assert result.rounds[-1].accuracy > result.rounds[0].accuracy - 0.05
    file = (tmp_path / "run" / FLOAT).read_bytes()
    check_model(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    fresh = windows(60, (3, 64), 3, 99)
    assert (session.run(None, {"x": fresh.x})[0].argmax(axis=1) == fresh.y).mean() > 0.8


def test_the_page_shows_the_files_that_are_tested():
    page = (ROOT / "docs" / "training.md").read_text()
    sources = [(EXAMPLE / name).read_text() for name in ("bearing.py", "pyproject.toml")]
    for language, source in zip(("python", "ini"), sources, strict=True):
        assert f"```{language}\n{source}```" in page
    assert sum(len(source.splitlines()) for source in sources) < MOST_LINES


def test_linear_models_learn_federated_and_are_judged(tmp_path):
    task = adapter("activity-linear")
    stores = devices(tmp_path, task.name, parts(task.input_shape, len(task.labels)))
    local = LocalRecipe(epochs=2, learning_rate=0.02)
    spec = {"task": task.name, "seed": 5, "rounds": 4, "local": local, "bar": Bar(accuracy=0.5)}
    one, two = (run(tmp_path / name, stores, **spec) for name in ("one", "two"))
    assert one.digest == two.digest
    assert {FLOAT, INT8} <= one.files.keys()
    assert FLOAT in one.admitted, one.summary
    assert one.scores.parity < 1e-3


WITHOUT_TORCH = """
import sys, tempfile
from pathlib import Path
import numpy as np
from cloud.models.gates import Bar
from cloud.training import job
from edge.training import trainer
from shared.task import Examples
from shared.task_compute import Compute
from tests.in_process_run import devices, run
home = Path(tempfile.mkdtemp(dir=sys.argv[1]))
source = np.random.default_rng(1)
def split(count):
    return Examples(source.normal(size=(count, 6, 100)).astype(np.float32), source.integers(0, 7, count))
stores = devices(home, "activity-linear", [(split(20), split(10)) for _ in range(2)])
for store in stores:
    trainer._warm_up(store, Compute())
result = run(home / "run", stores, task="activity-linear", seed=1, rounds=2, bar=Bar(accuracy=0.0))
assert len(result.rounds) == 2 and result.rounds[-1].accepted == 2
assert "torch" not in sys.modules
"""


def test_a_run_of_linear_models_imports_no_torch_on_either_side(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
