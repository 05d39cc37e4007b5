"""Family `keys`: one signing key at a time is stolen from the key store, or several that lie together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from shared.bundle import FleetDesired, Release
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.forging import Forger, forged_release, manifest_of
from simulations.scenarios.attacks.ground import MITM, YARD, Ground
from simulations.scenarios.attacks.middle import MODEL, Files, Middle, newest, settled
from simulations.scenarios.attacks.row import Attack, Seen, Threat

FLEET = f"fleet-{MITM}"
ONLINE = ("timestamp", "snapshot")
COMING = {"timestamp-and-snapshot-keys", "release-key-changes-a-release"}
"""Forgeries about a release that the device has been told to run and does not run yet."""

QUIET_S = 2.0
"""How long a forged release is waited for, where the device has no reason to say anything."""

Forgery = Callable[[Forger, Release], None]
"""Forge, given the release that the attacker would like to be run."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """One victim; each forgery is put on top of the newest honest files."""
    middle = Middle(ground, "keys-1")
    middle.open()
    try:
        for name, threat, done, stolen, forge in _forgeries():
            first = name not in COMING
            yield Attack(
                name=name,
                threat=threat,
                victim="device",
                done=done,
                control="what the coordinator signs next with the same keys: fetched, tried and served",
                act=_forging(middle, stolen, forge, first=first),
            )
    finally:
        middle.close()


def _forgeries() -> Iterator[tuple[str, Threat, str, tuple[str, ...], Forgery]]:
    yield (
        "one-root-key",
        Threat.ROOT_KEY,
        "signed a next root with root-1 alone",
        ("root-1",),
        lambda forger, _evil: forger.root(),
    )
    yield (
        "timestamp-key",
        Threat.ONLINE_KEY,
        "signed a snapshot of its own and a timestamp that leads to it with the timestamp key",
        ("timestamp",),
        _release_by("releases"),
    )
    yield (
        "snapshot-key",
        Threat.ONLINE_KEY,
        "signed a snapshot of its own and a timestamp that leads to it with the snapshot key",
        ("snapshot",),
        _release_by("releases"),
    )
    yield (
        "timestamp-and-snapshot-keys",
        Threat.ONLINE_KEY,
        "led both to releases metadata that neither may sign",
        ONLINE,
        _release_by("releases"),
    )
    yield (
        "roll-a-role-back",
        Threat.ONLINE_KEY,
        "led both to an older, well signed version of the fleet's metadata",
        ONLINE,
        _roll_back,
    )
    yield (
        "fleet-key",
        Threat.FLEET_KEY,
        "had the fleet want a forged release, signed with the fleet's key alone",
        (FLEET,),
        _want_forged,
    )
    yield (
        "fleet-key-names-a-release",
        Threat.FLEET_KEY,
        "signed a release with the fleet's key, and had the fleet want it; timestamp and snapshot keys were stolen too",
        (*ONLINE, FLEET),
        _release_by_fleet,
    )
    yield (
        "fleet-key-for-another-fleet",
        Threat.CROSS_FLEET,
        "signed a desired state about the fleet yard in the place of the device's own",
        (*ONLINE, FLEET),
        _another_fleet,
    )
    yield (
        "fleet-key-for-another-line",
        Threat.CROSS_FLEET,
        "had the fleet want a release of another model line under this line's name",
        (*ONLINE, FLEET),
        _another_line,
    )
    yield (
        "release-key",
        Threat.RELEASE_KEY,
        "signed a forged release with the release key alone",
        ("releases",),
        _release_by("releases"),
    )
    yield (
        "release-key-with-online-keys",
        Threat.RELEASE_KEY,
        "signed a forged release with the keys of releases, snapshot and timestamp; no fleet wants it",
        (*ONLINE, "releases"),
        _release_by("releases"),
    )
    yield (
        "release-key-changes-a-release",
        Threat.RELEASE_KEY,
        "signed other content under the name of the release that the fleet wants, with a stolen signature of the model",
        (*ONLINE, "releases"),
        _same_name,
    )
    yield (
        "targets-key",
        Threat.RELEASE_KEY,
        "had the targets role name a release itself, signed with a targets key",
        ("targets-1",),
        _release_by("targets"),
    )


def _forging(middle: Middle, stolen: tuple[str, ...], forge: Forgery, *, first: bool) -> Callable[[], Seen]:
    def act() -> Seen:
        release, honest = middle.ship()
        if first and not middle.accepts(release, honest):
            return Seen(refused=False, accepted=False, observed=f"{release} was never served")
        before = middle.active
        evil = _evil(middle, honest, release)
        forger = Forger(middle.ground.world.layout, honest, *stolen)
        forge(forger, evil)
        since, asked = settled(middle, quiet_s=0.1), len(middle.asked)
        middle.show(forger.files)
        error = middle.refusal(since, within_s=QUIET_S)
        fetched = sum(digest == evil.variants[0].digest for digest, _ in middle.asked[asked:])
        kept = middle.active == before
        if FLEET in stolen and len(stolen) > 1:  # well signed: the coordinator's versions must pass the forged ones
            middle.ship()
        return Seen(
            refused=kept and (bool(error) or not fetched),
            error=error,
            observed=f"serves {middle.active} (before: {before}); {fetched} chunks of the forged model were asked for",
            accepted=middle.accepts(*middle.ship()),
        )

    return act


def _evil(middle: Middle, honest: Files, release: str) -> Release:
    """The release an attacker would ship: the next counter, bytes of its own, which it could even deliver."""
    template = manifest_of(honest, release)
    data = models.honest(int(time.time() * 1000) % 1_000_000)
    evil = forged_release(MODEL, template.counter + 1, data, template)
    middle.ground.blobs[evil.variants[0].digest] = data
    return evil


def _release_by(role: str) -> Forgery:
    def forge(forger: Forger, evil: Release) -> None:
        forger.lead_to(role, forger.name_release(role, evil))

    return forge


def _release_by_fleet(forger: Forger, evil: Release) -> None:
    metadata = forger.name_release(FLEET, evil)
    wanted = forger.want(MITM, FleetDesired(fleet=MITM, default={MODEL: evil.id}))
    metadata.signed.targets |= {k: v for k, v in wanted.signed.targets.items() if k.startswith("fleets/")}
    forger.lead_to(FLEET, metadata)


def _want_forged(forger: Forger, evil: Release) -> None:
    forger.lead_to(FLEET, forger.want(MITM, FleetDesired(fleet=MITM, default={MODEL: evil.id})))


def _another_fleet(forger: Forger, evil: Release) -> None:
    about = FleetDesired(fleet=YARD, default={MODEL: evil.id})
    forger.lead_to(FLEET, forger.want(MITM, about))


def _another_line(forger: Forger, _evil: Release) -> None:
    forger.lead_to(FLEET, forger.want(MITM, FleetDesired(fleet=MITM, default={MODEL: "calm-1"})))


def _same_name(forger: Forger, evil: Release) -> None:
    import msgspec

    same = msgspec.structs.replace(evil, id=f"{MODEL}-{evil.counter - 1}", counter=evil.counter - 1)
    forger.lead_to("releases", forger.name_release("releases", same))


def _roll_back(forger: Forger, _evil: Release) -> None:
    version, _ = newest(forger.files, FLEET)
    older = f"metadata/{version - 1}.{FLEET}.json"
    forger.point_at(FLEET, version - 1, forger.files[older])
