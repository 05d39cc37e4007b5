"""Every overlay through the real Kustomize, against Kubernetes, and against the charts that the bases come from."""

from __future__ import annotations

import pytest

from simulations.bootstrap.manifests import BASES, rendered
from tests.manifests.kube import ROOT, VERSIONS, containers, parse, pods, problems, run, unrestricted

pytestmark = pytest.mark.system

PLACE = ROOT / "k3s" / "kustomize" / "overlays"
OVERLAYS = sorted(path.name for path in PLACE.iterdir())

of_each = pytest.mark.parametrize("overlay", OVERLAYS)


def built(overlay):
    return parse(run("kubectl", "kustomize", PLACE / overlay))


def env_of(container):
    return {each["name"]: each for each in container.get("env", [])}


def test_the_overlays_are_these():
    assert OVERLAYS == ["air-gapped", "edge-node", "gpu", "ha", "single-node"]


@pytest.mark.parametrize("path", BASES)
def test_a_base_is_what_its_chart_gives(path):
    assert (ROOT / path).read_text() == rendered(*BASES[path]), "run `make manifests`"


@of_each
def test_kubernetes_knows_every_field(overlay):
    manifests = built(overlay)
    assert [found for version in VERSIONS for each in manifests for found in problems(each, version)] == []


@of_each
def test_pods_are_what_their_namespace_admits(overlay):
    manifests = built(overlay)
    (level,) = [
        each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for each in manifests
        if each["kind"] == "Namespace"
    ] or ["restricted"]
    found = [what for _, pod in pods(manifests) for what in unrestricted(pod)]
    assert level == ("privileged" if found else "restricted"), found


@of_each
def test_everything_is_in_one_namespace(overlay):
    places = {each["metadata"].get("namespace") for each in built(overlay) if each["kind"] != "Namespace"}
    assert places == {"hinterland-edge" if overlay in {"edge-node", "gpu"} else "hinterland"}


def test_three_coordinators_know_each_other_and_their_database():
    manifests = built("ha")
    (coordinator,) = [each for each in manifests if each["kind"] == "StatefulSet"]
    (settings,) = [each["data"] for each in manifests if each["kind"] == "ConfigMap"]
    names = [f"{coordinator['metadata']['name']}-{number}" for number in range(coordinator["spec"]["replicas"])]
    assert settings["HINTERLAND_CLUSTER_REPLICAS"].split(",") == names
    (serving,) = coordinator["spec"]["template"]["spec"]["containers"]
    assert {"HINTERLAND_DIR", "HINTERLAND_STORE_URL", "HINTERLAND_CLUSTER_REPLICA"} <= env_of(serving).keys()
    for _, pod in pods(manifests):
        assert "affinity" not in pod
        for each in containers(pod):
            told = env_of(each).keys() >= {"HINTERLAND_SECRETS_PASSPHRASE_FILE"}
            assert not told or "HINTERLAND_STORE_URL" in env_of(each), each["name"]


def test_where_there_is_no_network_every_image_comes_from_the_site():
    images = {each["image"] for _, pod in pods(built("air-gapped")) for each in containers(pod)}
    assert images == {"registry.site.example/hinterland/coordinator:0.1.0"}
    listed = set((PLACE / "air-gapped" / "images.txt").read_text().split())
    wanted = {
        each["image"]
        for overlay in ("ha", "gpu", "edge-node")
        for _, pod in pods(built(overlay))
        for each in containers(pod)
    }
    assert wanted <= listed


def test_a_node_with_a_gpu_gets_the_image_for_it():
    ((_, pod),) = pods(built("gpu"))
    (agent,) = pod["containers"]
    assert agent["image"] == "hinterland/agent:0.1.0-gpu"
    assert (pod["runtimeClassName"], agent["resources"]["limits"]["nvidia.com/gpu"]) == ("nvidia", 1)
