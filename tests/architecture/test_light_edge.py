"""A device that only infers carries no training framework and no server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "flwr", "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "onnx", "onnxscript", "cv2", "av"]

IMPORTED = """
import importlib, json, pkgutil, sys
import edge, shared
for package in (edge, shared):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # The training process's own part, and the adapters it loads: they need the extra `train`.
        if not module.name.startswith(("edge.training", "shared.tasks")):
            importlib.import_module(module.name)
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stdout)
"""

SOURCES = ["shared", "edge", "fleet", "cloud", "simulations", "pyproject.toml", "README.md", "LICENSE"]


def imported_with(python: Path) -> set[str]:
    """Top-level modules that are loaded once every module of an inferring agent is."""
    answer = subprocess.run([python, "-P", "-c", IMPORTED], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout))


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but the extra `edge`, at the locked versions."""
    home = tmp_path_factory.mktemp("edge")
    checkout = home / "checkout"  # a build leaves files beside the sources
    checkout.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    python = home / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    install += ["-c", ROOT / "requirements.lock", f"{checkout}[edge]"]
    answer = subprocess.run(install, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": ""})
    assert answer.returncode == 0, answer.stderr
    return python


@pytest.mark.system
@pytest.mark.slow
def test_an_edge_install_has_no_training_framework_and_no_server(light: Path) -> None:
    listed = subprocess.run([light, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    installed = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"hinterland", "onnxruntime", "aiomqtt", "tuf"} <= installed
    assert installed.isdisjoint(HEAVY)


@pytest.mark.system
@pytest.mark.slow
def test_every_module_of_an_inferring_agent_loads_there(light: Path) -> None:
    assert imported_with(light).isdisjoint(HEAVY)


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize("script", ["hinterland-agent", "hinterland"])
def test_the_commands_of_an_edge_install_answer(light: Path, script: str) -> None:
    said = subprocess.run([light.with_name(script), "--help"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "Usage" in said.stdout


def test_no_module_of_an_inferring_agent_loads_a_framework_that_is_installed() -> None:
    assert imported_with(Path(sys.executable)).isdisjoint(HEAVY)
