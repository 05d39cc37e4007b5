"""Family `time`: old files under a new date, files of different days together, and no files at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from shared.clock import utc
from simulations.scenarios.attacks.forging import Forger
from simulations.scenarios.attacks.ground import MITM, Ground
from simulations.scenarios.attacks.middle import TIMESTAMP, Files, Middle, newest, settled
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import came

Past = Callable[[Files, Files], Files]
"""(older files, newer files) → what is shown."""

SHORT_S = 2.0
"""Seconds that the last timestamp lives in the freeze; in life it is a day."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """One victim, which has run the newer release before each attack."""
    middle = Middle(ground, "time-1")
    middle.open()
    try:
        for name, threat, done, past in _pasts():
            yield _attack(name, threat, done, _replaying(middle, past, lose_cache=False))
        yield _attack(
            "old-after-cache-loss",
            Threat.REPLAYED,
            "deleted the device's metadata cache while it was off, and showed it last release's files",
            _replaying(middle, lambda old, _new: old, lose_cache=True),
        )
        yield _attack(
            "old-desired-after-cache-loss",
            Threat.REPLAYED,
            "the same, with the new timestamp, snapshot and releases but the fleet's old metadata under its old name",
            _replaying(middle, _old_fleet, lose_cache=True),
        )
        yield _attack(
            "freeze",
            Threat.FROZEN,
            "withheld every new file until the last timestamp was past its date",
            _freezing(middle),
        )
    finally:
        middle.close()


def _attack(name: str, threat: Threat, done: str, act: Callable[[], Seen]) -> Attack:
    control = "the coordinator's next release: fetched, tried and served"
    return Attack(name=name, threat=threat, victim="device", done=done, control=control, act=act)


def _pasts() -> Iterator[tuple[str, Threat, str, Past]]:
    yield "old-everything", Threat.REPLAYED, "showed all files of the release before", lambda old, _new: old
    yield (
        "old-timestamp",
        Threat.REPLAYED,
        "showed the timestamp of the release before among the newest files",
        lambda old, new: {**new, TIMESTAMP: old[TIMESTAMP]},
    )
    yield (
        "old-snapshot",
        Threat.MIXED,
        "showed the older snapshot under the newer one's name",
        lambda old, new: _under_new_name(old, new, "snapshot"),
    )
    yield "old-fleet", Threat.MIXED, "showed the fleet's older metadata under the newer one's name", _old_fleet
    yield (
        "old-releases",
        Threat.MIXED,
        "showed the older releases metadata under the newer one's name",
        lambda old, new: _under_new_name(old, new, "releases"),
    )


def _under_new_name(old: Files, new: Files, role: str) -> Files:
    return {**new, f"metadata/{newest(new, role)[0]}.{role}.json": newest(old, role)[1]}


def _old_fleet(old: Files, new: Files) -> Files:
    return _under_new_name(old, new, f"fleet-{MITM}")


def _replaying(middle: Middle, past: Past, *, lose_cache: bool) -> Callable[[], Seen]:
    def act() -> Seen:
        older = middle.ground.signed_files()
        release, newer = middle.ship()
        mixed = past(older, newer)
        dated = lose_cache or mixed[TIMESTAMP] == older[TIMESTAMP]
        if dated and not middle.accepts(release, newer):  # to refuse the older, a device must have seen the newer
            return Seen(refused=False, accepted=False, observed=f"{release} was never served")
        before = middle.active
        if lose_cache:
            middle.stop()
            shutil.rmtree(middle.state / "trust" / "metadata")
        since = settled(middle, quiet_s=0.1)
        middle.show(mixed)
        if lose_cache:
            middle.start()
        error = middle.refusal(since)
        kept = middle.active == before
        return Seen(
            refused=bool(error) and kept,
            error=error,
            observed=f"{before} goes on serving",
            accepted=middle.accepts(*middle.ship()),
        )

    return act


def _freezing(middle: Middle) -> Callable[[], Seen]:
    def act() -> Seen:
        release, honest = middle.ship()
        frozen = Forger(middle.ground.world.layout, honest, "timestamp")  # what a coordinator of shorter dates signs
        timestamp = frozen.current("timestamp")
        timestamp.signed.version += 1
        timestamp.signed.expires = utc(time.time()).replace(microsecond=0) + timedelta(seconds=SHORT_S + 1)
        frozen.files[TIMESTAMP] = frozen.sign(timestamp)
        served = middle.accepts(release, frozen.files)
        came(lambda: time.time() > timestamp.signed.expires.timestamp() + 0.2, within_s=2 * SHORT_S)
        since, inferred = settled(middle, quiet_s=0.1), middle.inferred
        middle.show({**frozen.files, "metadata/unrelated.json": b"{}"})  # a reason to look again before 30 s are over
        error = middle.refusal(since)
        serving = came(lambda: middle.inferred > inferred)
        return Seen(
            refused=served and "expired" in error and serving and middle.active == release,
            error=error,
            observed=f"updates stopped; {release} inferred {middle.inferred - inferred} more windows",
            accepted=middle.accepts(*middle.ship()),
        )

    return act
