"""Kinds of models that this agent can serve, by name: ours, and those that other packages add.

A kind is known before a release of it is fetched; how its answers are read belongs to `edge.pipelines.tasks`, which is
loaded by name when the first such model comes.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from shared.bundle import Schema
from shared.errors import FaultError

GROUP = "hinterland.kinds"
"""Entry-point group under which other packages add kinds: `name = "package.module:TASK"`, an object of the port
`edge.pipelines.tasks.port.Task`. (`hinterland.tasks` is the group of what trains models.)"""

_OWN = {
    "anomaly": "edge.pipelines.tasks.anomaly:TASK",
    "classification": "edge.pipelines.tasks.classify:TASK",
    "detection": "edge.pipelines.tasks.detect:TASK",
    "regression": "edge.pipelines.tasks.regress:TASK",
}


class Kind(Protocol):
    """What must be known of a kind to load its models."""

    together: bool
    """Whether several inputs are answered at once, for which a model's batch axis must be free."""

    def check(self, schema: Schema) -> str:
        """What is wrong with a schema of this kind; empty if nothing is."""
        ...

    def fits(self, shapes: list[list[int]], schema: Schema, *, batch: int) -> bool:
        """Whether outputs of these shapes are a model's answer to `batch` inputs."""
        ...


def kind_of(schema: Schema) -> Kind:
    """The kind of a model.

    Raises:
        FaultError: this agent knows none of that name, or the package that brings it does not load.
    """
    return cast(Kind, find(schema.kind))


def together(schema: Schema) -> bool:
    """Whether several inputs of a model are answered at once."""
    return kind_of(schema).together


def check_kind(schema: Schema) -> None:
    """Whether models with this schema can be served at all; asked before a byte of one is fetched.

    Raises:
        FaultError: they cannot.
    """
    if wrong := kind_of(schema).check(schema):
        raise FaultError(f"no {schema.kind}: {wrong}")


@lru_cache(maxsize=64)
def find(name: str) -> Any:
    """The task of a kind; ours come first, so that no package can replace them.

    Raises:
        FaultError: as `kind_of`.
    """
    if name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:  # whatever a foreign package raises, its kind is not to be had
                raise FaultError(f"the package that brings models for {name!r} does not load: {error}") from error
    raise FaultError(
        f"this agent knows no models for {name[:80]!r}",
        hint=f"Update the agent, or install what brings them ({GROUP}).",
    )
