"""Key ceremonies: a role gets another key, and everything it signs is signed with that one.

Planned (`rotate`) or because a key was stolen (`revoke`), a ceremony is one change of the repository: all of it is
true or nothing. The keys of root and targets are offline, so they have to be brought for it.

A thief may have signed a version far above ours. Devices count versions per key set, and drop what a key signed that
is no longer named (TUF specification 1.0.33, 5.3.11), so a new key recovers from that too. But what a snapshot said of
a role's version is remembered with the snapshot, and what a timestamp said of the snapshot's with the timestamp; so
whoever loses a key below them gets new ones for both, if the root's keys are here to say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import NamedTuple

from tuf.api.metadata import Root, Targets

from cloud.release.generations import key_names, named, successor
from cloud.release.heads import Heads
from cloud.release.model_keys import add_successor, pinned, replace
from cloud.release.modelsig import MODEL_SIGNING
from cloud.release.repository import Change, Repository
from cloud.release.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, rule
from shared.errors import RefusedError
from shared.trust.names import ISSUED, KEY_NAME


class Replaced(NamedTuple):
    """One key that took another's place."""

    role: str
    old: str
    new: str


class Outcome(NamedTuple):
    """What a ceremony did."""

    replaced: list[Replaced]
    signed: dict[str, int]
    """Role → version that was signed for it."""

    remembered: bool = False
    """Devices that a thief showed a higher version still wait for it: new snapshot and timestamp keys are due."""


def rotate(repository: Repository, roles: Sequence[str]) -> Outcome:
    """Give every key of `roles` a successor, those of the root one after the other.

    `model-signing` is none of TUF's roles: its key gets a successor beside it.

    Raises:
        RefusedError: no such role, or too few keys are here to sign it.
    """
    with repository.changing() as change:
        return _replace(change, [(role, name) for role in roles for name in _names(change.heads, role)])


def revoke(repository: Repository, keys: Sequence[str]) -> Outcome:
    """Take stolen keys away: each gets a successor, and what it signed is signed again.

    Args:
        repository: to change.
        keys: their names, or those of roles that have one key.

    Raises:
        RefusedError: no role has such a key, it does not say which of several, or too few keys are here.
    """
    with repository.changing() as change:
        root, told = change.heads.root.signed, [_meant(change.heads, key) for key in keys]
        above = [pair for role, _ in told for pair in _remembering(root, role)]
        if set(above) <= set(told) or change.commit.can_sign(ROOT, by=root):
            return _replace(change, [*told, *above])
        return _replace(change, told)._replace(remembered=True)


def _replace(change: Change, told: Iterable[tuple[str, str]]) -> Outcome:
    pairs = list(dict.fromkeys(told))
    _check_able(change, {role for role, _ in pairs})  # before a key is made that nobody can vouch for
    # one version for each key of the root: every step is carried by keys that were trusted before it
    steps = [[pair] for pair in pairs if pair[0] == ROOT] + [[pair for pair in pairs if pair[0] != ROOT]]
    replaced = [made for step in steps for made in _step(change, step)]
    heads, roles = change.heads, {made.role for made in replaced}
    below = roles & heads.target_roles().keys()
    targets = {*below, *({TARGETS} if roles & heads.delegated.keys() else ())}
    if TIMESTAMP in roles:
        heads.timestamp.signed.unrecognized_fields.pop(ISSUED, None)  # devices keep that time per key, too
    if targets or SNAPSHOT in roles:
        change.commit.roles(heads, sorted(targets), at=change.at)
    elif replaced:
        change.commit.timestamp(heads, at=change.at)
    again = _signed(roles, targets)
    return Outcome(replaced, {role: heads.all()[role].signed.version for role in again})


def _check_able(change: Change, roles: set[str]) -> None:
    root, below = change.heads.root.signed, roles & change.heads.delegated.keys()
    needed = [ROOT] * bool(roles - below) + [TARGETS] * bool(below and TARGETS not in roles)
    for role in needed:
        if not change.commit.can_sign(role, by=root):
            names, threshold = key_names(root, role), root.get_delegated_role(role).threshold
            raise RefusedError(
                f"too few keys of {role} are here: it takes {threshold} of {', '.join(names)}",
                hint="Bring the medium that they are on: `--offline-dir`.",
            )


def _step(change: Change, pairs: Iterable[tuple[str, str]]) -> list[Replaced]:
    root = change.heads.root
    before = deepcopy(root.signed)
    replaced = [_succeed(change, role, name) for role, name in pairs]
    if any(made.role not in change.heads.delegated for made in replaced):
        change.commit.root(root, before=before, at=change.at)
    return replaced


def _succeed(change: Change, role: str, name: str) -> Replaced:
    """Put a new key into the place of `name`."""
    if role == MODEL_SIGNING:
        return _succeed_model_key(change, name)
    by = change.heads.delegator(role)
    held = key_names(by, role)
    for other, keyid in held.items():
        by.get_key(keyid).unrecognized_fields[KEY_NAME] = other  # keys of older repositories have no name yet
    new = successor(name, taken=held)
    key = change.keys.ensure(new, offline=rule(role).offline)
    by.revoke_key(held[name], role)
    by.add_key(named(key, new), role)
    return Replaced(role, name, new)


def _succeed_model_key(change: Change, name: str) -> Replaced:
    """An empty name stands for no key that goes at once."""
    root = change.heads.root.signed
    if name:
        return Replaced(MODEL_SIGNING, name, replace(root, change.keys, name))
    gone, new = add_successor(root, change.keys)
    return Replaced(MODEL_SIGNING, ", ".join(gone), new)


def _signed(roles: set[str], targets: set[str]) -> list[str]:
    root = [ROOT] if roles & {ROOT, TARGETS, SNAPSHOT, TIMESTAMP, MODEL_SIGNING} else []
    snapshot = [SNAPSHOT] if targets or SNAPSHOT in roles else []
    return [*root, *sorted(targets), *snapshot, *([TIMESTAMP] if roles else [])]


def _remembering(root: Root, role: str) -> list[tuple[str, str]]:
    """The keys under which devices remember versions of `role`."""
    none: tuple[str, ...] = ()
    above = {ROOT: none, MODEL_SIGNING: none, TIMESTAMP: none, SNAPSHOT: (TIMESTAMP,)}.get(role, (SNAPSHOT, TIMESTAMP))
    return [(one, name) for one in above for name in key_names(root, one)]


def _names(heads: Heads, role: str) -> list[str]:
    return [""] if role == MODEL_SIGNING else list(key_names(_delegator(heads, role), role))


def _delegator(heads: Heads, role: str) -> Root | Targets:
    if role not in heads.all():
        raise RefusedError(
            f"there is no role {role[:80]!r}", hint=f"Roles: {', '.join([*heads.all(), MODEL_SIGNING])}."
        )
    return heads.delegator(role)


def _meant(heads: Heads, key: str) -> tuple[str, str]:
    """Role and name of the key that an operator calls `key`."""
    table = {role: list(key_names(heads.delegator(role), role)) for role in heads.all()}
    table[MODEL_SIGNING] = list(pinned(heads.root.signed))
    for role, names in table.items():
        if key in names:
            return role, key
    if not table.get(key):
        known = ", ".join(name for names in table.values() for name in names)
        raise RefusedError(f"no role has a key {key[:80]!r}", hint=f"Keys: {known}.")
    if len(table[key]) > 1:
        raise RefusedError(f"{key} has {len(table[key])} keys", hint=f"Say which: {', '.join(table[key])}.")
    return key, table[key][0]
