"""Who runs first what nobody has run: one canary for each kind of hardware that gets such a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from cloud.rollout.spec import Spec
from shared.bundle import UNEXECUTED, Release


class Ability(msgspec.Struct, frozen=True, kw_only=True):
    """What a device said of itself when it enrolled."""

    hardware: Collection[str]
    runtimes: Collection[str]


def provers(release: Release, devices: Mapping[str, Ability]) -> tuple[str, ...]:
    """The first device by name for each runtime and hardware of the release's unexecuted files.

    Whether a device's owner admits such files only the device knows: one that does not takes another file, and the
    proof is then run by whoever comes next.
    """
    kinds = {(each.runtime, fact) for each in release.variants if each.label == UNEXECUTED for fact in each.hardware}
    found = set()
    for runtime, fact in kinds:
        able = (name for name, said in sorted(devices.items()) if runtime in said.runtimes and fact in said.hardware)
        found.update(list(able)[:1])
    return tuple(sorted(found))


def with_provers(spec: Spec, release: Release, devices: Mapping[str, Ability]) -> Spec:
    """The rollout with these devices among its canaries; the same one for a release whose files were all run."""
    missing = [name for name in provers(release, devices) if name not in spec.canaries]
    return msgspec.structs.replace(spec, canaries=(*spec.canaries, *missing)) if missing else spec
