"""Manifests out of the real tools, held against the schemas of Kubernetes and against its restricted profile."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from shared.errors import RefusedError
from simulations.bootstrap.cluster import PLACE, VERSIONS

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / PLACE
CHART = ROOT / "k3s" / "chart"

Manifest = dict[str, Any]

FOREIGN = frozenset({"monitoring.coreos.com/v1"})
"""Groups of other people's resources, whose schemas no package carries: their shape is looked at by hand below."""


def run(tool: str, *arguments: str | Path, stdin: str = "") -> str:
    """Output of helm, kubectl; fails with what it said.

    Raises:
        RefusedError: the tools were not fetched.
        AssertionError: the tool refused.
    """
    path = TOOLS / "bin" / tool
    if not path.exists():
        raise RefusedError(f"{tool} is missing", hint="Run `make cluster`.")
    environment = {"HOME": str(TOOLS), "PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null"}
    answer = subprocess.run(
        [path, *map(str, arguments)], input=stdin, capture_output=True, text=True, check=False, env=environment
    )
    if answer.returncode:
        raise AssertionError(answer.stderr.strip() or answer.stdout.strip())
    return answer.stdout


def render(chart: Path, *values: Path, sets: Sequence[str] = ()) -> list[Manifest]:
    """What `helm template` makes of a chart."""
    told = [part for path in values for part in ("--values", str(path))]
    told += [part for each in sets for part in ("--set", each)]
    return parse(run("helm", "template", "hl", chart, "--namespace", "hinterland", *told))


def parse(text: str) -> list[Manifest]:
    """Every document of a stream of YAML; none may give a key twice."""
    return [each for each in yaml.load_all(text, Loader=_Strict) if each]


class _Strict(yaml.SafeLoader):
    """A loader that refuses a key that is there twice, which Kubernetes does and YAML libraries do not."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[str, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise AssertionError(f"twice in one mapping: {twice}, {node.start_mark}")
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))  # type: ignore[no-untyped-call]


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def problems(manifest: Manifest, version: str) -> list[str]:
    """What the strict schema of one version of Kubernetes says against a manifest."""
    if manifest["apiVersion"] in FOREIGN:
        return []
    where = f"{manifest['kind']}/{manifest['metadata']['name']} on {version}"
    found = _validator(version, manifest["apiVersion"], manifest["kind"])
    if found is None:
        return [f"{where}: Kubernetes knows no {manifest['apiVersion']} {manifest['kind']}"]
    return [
        f"{where}: {'/'.join(map(str, each.instance_path))}: {each.message}" for each in found.iter_errors(manifest)
    ]


@functools.cache
def _validator(version: str, api: str, kind: str) -> Any:
    *group, api_version = api.split("/")
    short = group[0].split(".")[0] if group else ""
    name = "-".join([kind.lower(), *([short] if short else []), api_version]) + ".json"
    schemas = TOOLS / "schemas" / version
    if not (schemas / name).exists():
        return None

    def retrieve(uri: str) -> Any:
        return json.loads((schemas / uri.rpartition("/")[2]).read_text())

    return jsonschema_rs.validator_for(json.loads((schemas / name).read_text()), retriever=retrieve)


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that manifests ask for, and the name of what asks."""
    for each in manifests:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            yield name, each["spec"]["template"]["spec"]
        if each["kind"] == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those that start it included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def unrestricted(pod: Manifest) -> list[str]:
    """What in a pod the profile "restricted" of the Pod Security Standards would refuse; empty if nothing.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    found = [f"{name} of the host" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in pod.get("volumes", []):
        found += [f"volume {kind}" for kind in volume.keys() - {"name"} - allowed]
    whole = pod.get("securityContext", {})
    for each in containers(pod):
        own = each.get("securityContext", {})
        said = {**whole, **own}
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{each['name']}: allowPrivilegeEscalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add", []) not in (
            [],
            ["NET_BIND_SERVICE"],
        ):
            found.append(f"{each['name']}: capabilities")
        if said.get("runAsNonRoot") is not True or said.get("runAsUser", 1) == 0:
            found.append(f"{each['name']}: runs as root")
        if said.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            found.append(f"{each['name']}: seccomp")
        if own.get("privileged"):
            found.append(f"{each['name']}: privileged")
        found += [f"{each['name']}: hostPort" for port in each.get("ports", []) if port.get("hostPort")]
    return found


__all__ = ["CHART", "ROOT", "VERSIONS", "containers", "parse", "pods", "problems", "render", "run", "unrestricted"]
