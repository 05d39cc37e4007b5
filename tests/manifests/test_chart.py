"""The chart under every values file: what the real helm makes of it, and what Kubernetes would say."""

from __future__ import annotations

import pytest

from tests.manifests.kube import CHART, VERSIONS, containers, pods, problems, render, run, unrestricted

pytestmark = pytest.mark.system

VALUES = sorted((CHART / "ci").glob("*.yaml"))

rendered = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


@rendered
def test_helm_lints_it(values):
    run("helm", "lint", "--strict", CHART, "--values", values)


@rendered
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(values, version):
    found = [problem for manifest in render(CHART, values) for problem in problems(manifest, version)]
    assert found == []


@rendered
def test_every_pod_passes_the_restricted_profile(values):
    found = {name: unrestricted(pod) for name, pod in pods(render(CHART, values))}
    assert found
    assert {name: what for name, what in found.items() if what} == {}


@rendered
def test_every_container_says_what_it_needs_and_writes_nowhere_but_on_volumes(values):
    for name, pod in pods(render(CHART, values)):
        assert pod["automountServiceAccountToken"] is False, name
        for each in containers(pod):
            where = f"{name}, {each['name']}"
            assert each["securityContext"]["readOnlyRootFilesystem"] is True, where
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys(), where
            assert "memory" in each["resources"]["limits"], where


@rendered
def test_selectors_find_their_pods_and_services_their_ports(values):
    manifests = render(CHART, values)
    templates = [each["spec"]["template"] for each in manifests if "template" in each.get("spec", {})]
    for each in manifests:
        spec = each.get("spec", {})
        if each["kind"] in {"Deployment", "StatefulSet"}:
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        if each["kind"] != "Service":
            continue
        found = [
            template for template in templates if spec["selector"].items() <= template["metadata"]["labels"].items()
        ]
        assert len(found) == 1, each["metadata"]["name"]
        ports = {port["name"] for part in found[0]["spec"]["containers"] for port in part.get("ports", [])}
        assert {port["targetPort"] for port in spec["ports"]} <= ports


def test_the_names_in_settings_are_those_of_services():
    manifests = render(CHART, CHART / "ci" / "single-node.yaml")
    settings = next(
        each["data"] for each in manifests if each["kind"] == "ConfigMap" and "settings" in each["metadata"]["name"]
    )
    services = {f"{each['metadata']['name']}.hinterland.svc" for each in manifests if each["kind"] == "Service"}
    assert {settings[f"HINTERLAND_{server}_INSIDE"] for server in ("API", "BROKER", "SUPERLINK")} <= services


def test_the_names_of_replicas_are_those_of_pods():
    manifests = render(CHART, CHART / "ci" / "ha.yaml")
    settings = next(
        each["data"] for each in manifests if each["kind"] == "ConfigMap" and "settings" in each["metadata"]["name"]
    )
    (coordinator,) = [each for each in manifests if each["kind"] == "StatefulSet"]
    (scaler,) = [each for each in manifests if each["kind"] == "HorizontalPodAutoscaler"]
    names = [f"{coordinator['metadata']['name']}-{number}" for number in range(scaler["spec"]["maxReplicas"])]
    assert settings["HINTERLAND_CLUSTER_REPLICAS"].split(",") == names


def test_the_coordinator_understands_every_setting_of_the_chart(tmp_path):
    from cloud.settings import make_settings

    for values in VALUES:
        for each in render(CHART, values):
            if each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("-settings"):
                told = dict(each["data"])
                if "HINTERLAND_CLUSTER_REPLICAS" in told:
                    told["HINTERLAND_CLUSTER_REPLICA"] = told["HINTERLAND_CLUSTER_REPLICAS"].split(",")[0]
                settings = make_settings({}, told, directory=tmp_path)
                unheard = [name for name in told if name.lower() not in heard(settings)]
                assert unheard == [], values.stem
                assert settings.broker.listen == "0.0.0.0"


def heard(settings):
    import msgspec

    groups = msgspec.to_builtins(settings)
    return {
        f"hinterland_{group}_{field}" for group, fields in groups.items() if group != "directory" for field in fields
    }


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ([], "public.host"),
        (["public.host=a", "coordinator.replicas=2"], "several coordinators need PostgreSQL"),
        (["public.host=a", "coordinator.replicas=2", "postgres.existingSecret=b"], "storage.accessMode"),
        (["public.host=a", "postgres.existingSecret=b", "postgres.bundled.enabled=true"], "exclude each other"),
        (["public.host=a", "coordinator.replica=2"], "replica"),
        (["public.host=a", "coordinator.replicas=0"], "replicas"),
        (["public.host=a", "storage.accessMode=Everywhere"], "accessMode"),
        (["public.host=a", "vault.enabled=true"], "vault.url"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_a_word(sets, said):
    with pytest.raises(AssertionError, match=said):
        render(CHART, sets=sets)
