"""Which terms a model that grows trees can follow."""

from __future__ import annotations

from cloud.training.optimisers import Momentum
from cloud.training.rules import Mean
from cloud.training.spec import RunSpec
from shared.errors import RefusedError
from shared.tasks.compression import Kind


def check_trees(spec: RunSpec) -> RunSpec:
    """Return a spec whose model can grow.

    Raises:
        RefusedError: it asks for what only weights that are averaged can give.
    """
    odd = {
        "rule": spec.rule != Mean(),
        "strategy": spec.strategy != Momentum(),
        "privacy": spec.privacy is not None,
        "local_parts": bool(spec.local_parts),
        "compression": spec.compression.kind is not Kind.NONE,
        "buffer": bool(spec.buffer.size),
        "local.scaffold": spec.local.scaffold,
        "local.proximal": bool(spec.local.proximal),
    }
    asked = [name for name, is_odd in odd.items() if is_odd]
    if asked:
        raise RefusedError(
            f"run {spec.run}: trees are added, not averaged, so that {', '.join(asked)} cannot apply",
            hint=f"Leave out {', '.join(asked)}, or train another task.",
        )
    return spec
