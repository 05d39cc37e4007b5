"""The keys that sign models, as the root names them: key ring name → PEM.

They are rotated with an overlap. Devices ask for a model signature at every start, so the key that vouches for what
serves now stays in the root beside its successor until the next rotation; releases from then on carry the new one's.
A stolen key goes at once, and what it alone vouched for has to be released again.
"""

from __future__ import annotations

from typing import cast

from tuf.api.metadata import Root

from cloud.release.generations import successor
from cloud.release.keys import KeyKind, KeyRing
from cloud.release.modelsig import MODEL_SIGNING, public_pem
from shared.errors import RefusedError
from shared.trust.names import MODEL_KEYS

KEPT = 2
"""Keys that the root names at most: the one that signs, and the one before it."""


def pinned(root: Root) -> dict[str, str]:
    """Name → PEM, oldest first; empty in a repository from before model signatures."""
    keys = cast("dict[str, str]", root.unrecognized_fields.get(MODEL_KEYS, {}))
    return dict(sorted(keys.items(), key=lambda item: (len(item[0]), item[0])))


def add_successor(root: Root, keys: KeyRing) -> tuple[list[str], str]:
    """Put a new key beside the newest one; return the names that went, and the new name."""
    now = pinned(root)
    new = successor(list(now)[-1], taken=now) if now else MODEL_SIGNING
    now[new] = public_pem(keys.ensure(new, kind=KeyKind.P256))
    gone = list(now)[:-KEPT]
    root.unrecognized_fields[MODEL_KEYS] = {name: pem for name, pem in now.items() if name not in gone}
    return gone, new


def replace(root: Root, keys: KeyRing, name: str) -> str:
    """Put a new key into the place of `name`; return its name.

    Raises:
        RefusedError: the root names no such key.
    """
    now = pinned(root)
    if name not in now:
        raise RefusedError(f"the root names no model key {name[:80]!r}", hint=f"It names {', '.join(now) or 'none'}.")
    new = successor(list(now)[-1], taken=now)
    now[new] = public_pem(keys.ensure(new, kind=KeyKind.P256))
    del now[name]
    root.unrecognized_fields[MODEL_KEYS] = now
    return new
