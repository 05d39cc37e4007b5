"""What can be said of the images without building them: what they copy exists, and nothing in them runs as root."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.manifests.kube import ROOT

PLACE = ROOT / "k3s" / "images"
TEXT = (PLACE / "Dockerfile").read_text()
STAGES = re.split(r"(?m)^(?=FROM )", TEXT)[1:]
NAMES = [re.match(r"FROM \S+ AS (\S+)", stage).group(1) for stage in STAGES]
FINAL = ["coordinator", "agent", "agent-train", "agent-gpu"]

final = pytest.mark.parametrize("stage", [s for s, n in zip(STAGES, NAMES, strict=True) if n in FINAL], ids=FINAL)


def test_every_stage_builds_on_one_that_is_there():
    bases = {re.match(r"FROM (\S+)", stage).group(1) for stage in STAGES}
    assert bases <= {*NAMES, "${BASE}", "${GPU_BASE}"}
    assert set(re.findall(r"COPY --from=(\S+)", TEXT)) <= set(NAMES)
    assert set(FINAL) <= set(NAMES)


@final
def test_nothing_in_an_image_runs_as_root_and_each_carries_its_bill(stage):
    users = re.findall(r"(?m)^USER (\S+)", stage)
    assert users == ["10001:10001"]
    assert re.search(r"(?m)^VOLUME /var/lib/hinterland$", stage)
    assert "/usr/share/hinterland" in stage or "install-hinterland" in stage


def test_what_is_copied_is_here_and_is_let_through():
    let_through = re.findall(r"(?m)^!(\S+)", (PLACE / "Dockerfile.dockerignore").read_text())
    for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", TEXT):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(f"{each}/") for each in let_through), source


def test_the_extras_are_the_projects():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for line in re.findall(r"install-hinterland ([a-z0-9,-]+)", TEXT) for extra in line.split(",")}
    assert asked
    assert asked <= known.keys()


def test_the_charts_ask_for_users_and_names_that_images_have():
    agent = (ROOT / "k3s" / "agent-chart" / "templates" / "agent.yaml").read_text()
    helpers = (ROOT / "k3s" / "chart" / "templates" / "_helpers.tpl").read_text()
    assert "runAsUser: 10001" in agent
    assert "runAsUser: 10001" in helpers
    assert "useradd --uid 10001" in TEXT
