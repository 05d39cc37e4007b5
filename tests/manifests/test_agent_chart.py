"""The agent's chart: its settings are the agent's own, and only its first container may do one thing as root."""

from __future__ import annotations

import pytest

from edge.settings import read
from tests.manifests.kube import ROOT, VERSIONS, pods, problems, render, run, unrestricted

pytestmark = pytest.mark.system

CHART = ROOT / "k3s" / "agent-chart"
VALUES = sorted((CHART / "ci").glob("*.yaml"))

rendered = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


@rendered
def test_helm_lints_it_and_every_kubernetes_knows_its_fields(values):
    run("helm", "lint", "--strict", CHART, "--values", values)
    manifests = render(CHART, values)
    assert [found for version in VERSIONS for each in manifests for found in problems(each, version)] == []


@rendered
def test_the_agent_reads_the_settings(values, tmp_path):
    (config,) = [each for each in render(CHART, values) if each["kind"] == "ConfigMap"]
    path = tmp_path / "agent.toml"
    path.write_text(config["data"]["agent.toml"])
    settings = read(path)
    assert settings.agent.token_file == "/run/hinterland/token"
    assert settings.pipelines
    ((_, pod),) = pods(render(CHART, values))
    (agent,) = pod["containers"]
    mounts = {mount["mountPath"] for mount in agent["volumeMounts"]}
    assert {str(settings.state), "/run/hinterland", "/etc/hinterland"} <= mounts


def test_what_an_edge_node_needs_beyond_the_restricted_profile_is_this_and_no_more():
    ((_, pod),) = pods(render(CHART, CHART / "ci" / "sensors.yaml"))
    assert unrestricted(pod) == ["volume hostPath", "own: capabilities", "own: runs as root"]
    (own,) = pod["initContainers"]
    assert own["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}


def test_a_gpu_is_asked_for_by_its_resource_and_runtime():
    ((_, pod),) = pods(render(CHART, CHART / "ci" / "gpu.yaml"))
    (agent,) = pod["containers"]
    assert pod["runtimeClassName"] == "nvidia"
    assert agent["resources"]["limits"] == {"memory": "1Gi", "nvidia.com/gpu": 1, "squat.ai/video": 1}
    assert agent["image"].endswith("-gpu")


@pytest.mark.parametrize(
    ("sets", "said"),
    [(["state.hostPath=relative"], "hostPath"), (["gpu.enable=true"], "enable"), (["logLevel=loud"], "logLevel")],
)
def test_values_that_make_no_sense_are_refused(sets, said):
    with pytest.raises(AssertionError, match=said):
        render(CHART, sets=sets)
