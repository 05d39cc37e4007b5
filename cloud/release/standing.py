"""How each role stands: its keys and where they are, its version, and how long it is still good."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cloud.release.generations import key_names
from cloud.release.heads import Heads
from cloud.release.model_keys import pinned
from cloud.release.modelsig import MODEL_SIGNING
from cloud.release.roles import DAY, ROOT, due

AWAY = "away"

Where = Callable[[str], str]
"""Where the private part of a key is, by its name; `AWAY` when it is not within reach."""


class KeyStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One key."""

    name: str
    id: str
    """As devices know it; empty for model keys, which go by their names."""

    where: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One role."""

    role: str
    version: int
    threshold: int
    expires: str
    """Date and time, UTC."""

    days_left: float
    state: str
    """`good`, `due` (half of its life is over) or `expired`."""

    can_sign: bool
    """Whether enough of its keys are within reach."""

    keys: list[KeyStanding]


def standings(heads: Heads, where: Where, *, at: float) -> list[Standing]:
    """Every role, and the model keys, which expire with the root that names them."""
    found = [_standing(heads, role, where, at=at) for role in heads.all()]
    models = [KeyStanding(name=name, id="", where=where(name)) for name in pinned(heads.root.signed)]
    if models:
        can = any(key.where != AWAY for key in models)
        root = found[list(heads.all()).index(ROOT)]
        found.append(msgspec.structs.replace(root, role=MODEL_SIGNING, threshold=1, can_sign=can, keys=models))
    return found


def _standing(heads: Heads, role: str, where: Where, *, at: float) -> Standing:
    by, signed = heads.delegator(role), heads.all()[role].signed
    keys = [KeyStanding(name=name, id=keyid, where=where(name)) for name, keyid in key_names(by, role).items()]
    left, threshold = signed.expires.timestamp() - at, by.get_delegated_role(role).threshold
    state = "expired" if left <= 0 else "due" if due(role, signed.expires, at=at) else "good"
    return Standing(
        role=role,
        version=signed.version,
        threshold=threshold,
        expires=f"{signed.expires:%Y-%m-%d %H:%M}",
        days_left=round(left / DAY, 2),
        state=state,
        can_sign=sum(key.where != AWAY for key in keys) >= threshold,
        keys=keys,
    )
