"""What the keys of a role are called in the key ring, and what their successors will be.

A public key carries its name in signed metadata, so that whoever has the repository and the key ring can sign,
whatever was rotated before. Keys from before names were written have those of the role table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from cloud.release.roles import rule
from shared.errors import RefusedError
from shared.trust.names import KEY_NAME, fleet_role

FLEET_PREFIX = fleet_role("")

_NUMBERED = re.compile(r"(.*?)(?:-([0-9]+))?")
_FLEET = re.compile(r"f([0-9]+)-(.+)")


def key_names(by: Root | Targets, role: str) -> dict[str, str]:
    """Name → key id of the keys that may sign `role`, in the order in which `by` lists them."""
    ids = by.get_delegated_role(role).keyids
    said = {keyid: _said(by, keyid) for keyid in ids}
    unsaid = iter([name for name in rule(role).keys if name not in said.values()])
    return {said[keyid] or next(unsaid, keyid): keyid for keyid in ids}


def named(key: Key, name: str) -> Key:
    """The public key with its name beside it; its id and what it verifies stay the same."""
    return Key.from_dict(key.keyid, {**key.to_dict(), KEY_NAME: name})


def successor(name: str, *, taken: Iterable[str]) -> str:
    """The name of the key that follows `name`.

    Numbers only grow, so no name comes twice; a fleet's number stands before its id, because `fleet-lab-2` may be
    the first key of a fleet `lab-2`.
    """
    stem, _ = split(name)
    highest = max(number for other in [name, *taken] for found, number in [split(other)] if found == stem)
    return _join(stem, highest + 1)


def split(name: str) -> tuple[str, int]:
    """Stem and generation; `releases` is the first of its stem, and `f2-lab` the second of `fleet-lab`."""
    if name.startswith(FLEET_PREFIX):
        return name, 1
    if found := _FLEET.fullmatch(name):
        return fleet_role(found[2]), int(found[1])
    found = _NUMBERED.fullmatch(name)
    if found is None:
        raise RefusedError(f"{name!r} is no name of a key")
    return found[1], int(found[2] or 1)


def _join(stem: str, number: int) -> str:
    if stem.startswith(FLEET_PREFIX):
        return f"f{number}-{stem.removeprefix(FLEET_PREFIX)}"
    return f"{stem}-{number}"


def _said(by: Root | Targets, keyid: str) -> str:
    name = by.get_key(keyid).unrecognized_fields.get(KEY_NAME, "")
    return name if isinstance(name, str) else ""
