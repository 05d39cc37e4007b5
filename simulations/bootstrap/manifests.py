"""The bases of Kustomize, written out of the charts: `python -m simulations.bootstrap.manifests`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from simulations.bootstrap.cluster import PLACE

ROOT = Path(__file__).resolve().parents[2]

BASES = {
    "k3s/kustomize/base/coordinator.yaml": ("k3s/chart", "k3s/kustomize/base/values.yaml", "hinterland"),
    "k3s/kustomize/edge/agent.yaml": ("k3s/agent-chart", "k3s/kustomize/edge/values.yaml", "hinterland-edge"),
}
"""File → the chart, its values and its namespace."""


def rendered(chart: str, values: str, namespace: str) -> str:
    """What helm makes of a chart, without the labels that say that helm manages it."""
    told = ["--namespace", namespace, "--values", str(ROOT / values)]
    argv = [str(ROOT / PLACE / "bin" / "helm"), "template", "hinterland", str(ROOT / chart), *told]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    dropped = ("helm.sh/chart", "app.kubernetes.io/managed-by")
    kept = [line.rstrip() for line in text.splitlines() if line.strip() and not line.strip().startswith(dropped)]
    return "# Written by `make manifests` out of the chart; change that.\n" + "\n".join(kept) + "\n"


def main() -> int:
    """Write every base."""
    for path, told in BASES.items():
        (ROOT / path).write_text(rendered(*told))
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
