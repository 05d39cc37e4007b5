"""Measure every benchmark once and write `bench.json`: `python -m tests.benchmarks.run [name …]`."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

BENCHMARKS = (
    "aggregation", "sketching", "chunks", "delivery", "deltas", "activation", "trust_import", "deployment",
    "simulation", "pipeline", "footprint", "video_peers",
)  # fmt: skip
RESULT = Path("bench.json")


def main(names: list[str]) -> None:
    """Run the benchmarks named, or all."""
    console = Console()
    figures = []
    for name in names or BENCHMARKS:
        with console.status(f"measuring {name}"):
            figures += list(import_module(f"tests.benchmarks.{name}").measure())
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine, "figures": figures})))
    table = Table("figure", "ours", "peer", "unit", "ours / peer", "better", title=f"written to {RESULT}")
    for figure in figures:
        table.add_row(
            figure.name, f"{figure.ours:.3g}", f"{figure.peer:.3g}", figure.unit, f"{figure.ratio:.2f}", figure.better
        )
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
