"""Model families by name; their heavy libraries load when they are first asked to compute."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from shared.errors import RefusedError
from shared.task import TaskAdapter

GROUP = "hinterland.tasks"
"""Entry-point group under which other packages add families: `name = "package.module:ADAPTER"`."""

_OWN = {
    "activity": "shared.tasks.activity:ADAPTER",
    "activity-linear": "shared.tasks.activity_linear:ADAPTER",
    "activity-trees": "shared.tasks.activity_trees:ADAPTER",
    "fashion": "shared.tasks.fashion:ADAPTER",
    "fashion-linear": "shared.tasks.fashion_linear:ADAPTER",
}


def adapter(name: str) -> TaskAdapter:
    """Find the adapter of a model family; ours come first, so that no package can replace them.

    Raises:
        RefusedError: there is no such family.
    """
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        return cast(TaskAdapter, getattr(import_module(module), attribute))
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return cast(TaskAdapter, entry.load())
    raise RefusedError(
        f"there is no task {name[:80]!r}",
        hint=f"Known tasks: {', '.join(sorted(_OWN))}; packages add more through the entry-point group {GROUP}.",
    )
