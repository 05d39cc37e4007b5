"""Family `way`: signed files and chunks that are altered, cut, swapped or blown up between coordinator and device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import MITM, Ground
from simulations.scenarios.attacks.middle import TIMESTAMP, Alter, Files, Middle, newest, settled
from simulations.scenarios.attacks.row import Attack, Seen, Threat

Change = Callable[[Files], None]

GOES_AWAY = "the attacker goes away: the same release is active soon after, without newer metadata"

ENDLESS = 3 << 20
"""Bytes; more than any of these files has, and less than the broker takes."""


def flipped(data: bytes) -> bytes:
    """One bit in the middle is another."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def attacks(ground: Ground) -> Iterator[Attack]:
    """One victim; each attack begins with a release that the coordinator has just signed."""
    middle = Middle(ground, "way-1")
    middle.open()
    try:
        for name, threat, done, change in _files():
            yield Attack(
                name=name,
                threat=threat,
                victim="device",
                done=done,
                control=GOES_AWAY,
                act=_showing(middle, change),
            )
        for name, threat, done, alter in _chunks(ground):
            yield Attack(
                name=name,
                threat=threat,
                victim="device",
                done=done,
                control=GOES_AWAY,
                act=_sending(middle, alter),
            )
    finally:
        middle.close()


def _files() -> Iterator[tuple[str, Threat, str, Change]]:
    roles = ("timestamp", "snapshot", "releases", f"fleet-{MITM}")
    for role in roles:
        name = role.split("-")[0]
        yield (
            f"altered-{name}",
            Threat.TAMPERED,
            f"flipped a bit of the signed {name} metadata",
            _role(role, flipped),
        )
    yield "altered-manifest", Threat.TAMPERED, "flipped a bit of the release's manifest", _target("manifest", flipped)
    yield "altered-desired", Threat.TAMPERED, "flipped a bit of the fleet's desired state", _target("desired", flipped)
    yield (
        "truncated-snapshot",
        Threat.ENDLESS,
        "cut the last byte off the snapshot",
        _role("snapshot", lambda data: data[:-1]),
    )
    yield (
        "truncated-manifest",
        Threat.ENDLESS,
        "cut the manifest in half",
        _target("manifest", lambda data: data[: len(data) // 2]),
    )
    yield (
        "endless-timestamp",
        Threat.ENDLESS,
        f"appended {ENDLESS >> 20} MiB of spaces to the timestamp",
        _role("timestamp", lambda data: data + b" " * ENDLESS),
    )
    yield (
        "endless-targets",
        Threat.ENDLESS,
        f"appended {ENDLESS >> 20} MiB to the releases metadata",
        _role("releases", lambda data: data + b" " * ENDLESS),
    )
    yield (
        "nested-timestamp",
        Threat.ENDLESS,
        "sent 15,000 nested brackets as the timestamp",
        _role("timestamp", lambda _: b"[" * 15_000),
    )


def _role(role: str, change: Callable[[bytes], bytes]) -> Change:
    def apply(files: Files) -> None:
        version, data = newest(files, role)
        name = TIMESTAMP if role == "timestamp" else f"metadata/{version}.{role}.json"
        files[name] = change(data)

    return apply


def _target(kind: str, change: Callable[[bytes], bytes]) -> Change:
    def apply(files: Files) -> None:
        for name in [name for name in files if name.endswith(f".{kind}.json")]:
            files[name] = change(files[name])

    return apply


def _showing(middle: Middle, change: Change) -> Callable[[], Seen]:
    def act() -> Seen:
        release, honest = middle.ship()
        altered = dict(honest)
        change(altered)
        since = settled(middle, quiet_s=0.1)
        middle.show(altered)
        error = middle.refusal(since)
        served = middle.active == release
        accepted = middle.accepts(release, honest)
        return Seen(
            refused=bool(error) and not served,
            error=error,
            observed=f"{release} was not served until the files were the coordinator's",
            accepted=accepted,
        )

    return act


def _chunks(ground: Ground) -> Iterator[tuple[str, Threat, str, Alter]]:
    bomb = models.bomb()
    noise = Random(5).randbytes(64 << 10)  # noqa: S311  bytes, no secret
    other = models.honest(4242)
    yield (
        "altered-chunk",
        Threat.TAMPERED,
        "flipped a bit of every chunk",
        lambda _d, _i, data: flipped(data),
    )
    yield (
        "wrong-chunk",
        Threat.TAMPERED,
        "sent the chunk of another model under the right name",
        lambda _d, index, data: other[index * len(data) : (index + 1) * len(data)][: len(data)].ljust(len(data), b"\0"),
    )
    yield (
        "swapped-chunks",
        Threat.TAMPERED,
        "sent chunk 1 as chunk 0 and chunk 0 as chunk 1",
        lambda digest, index, _data: ground.blobs[digest][: 256 << 10] if index else ground.blobs[digest][256 << 10 :],
    )
    yield "truncated-chunk", Threat.ENDLESS, "cut every chunk in half", lambda _d, _i, data: data[: len(data) // 2]
    yield (
        "oversize-chunk",
        Threat.ENDLESS,
        "appended 64 KiB to every chunk",
        lambda _d, _i, data: data + noise,
    )
    yield (
        "bomb-chunk",
        Threat.BOMB,
        "sent an archive of 256 MiB of zeros as every chunk",
        lambda _d, _i, _data: bomb,
    )


def _sending(middle: Middle, alter: Alter) -> Callable[[], Seen]:
    def act() -> Seen:
        release, honest = middle.ship()
        since = settled(middle, quiet_s=0.1)
        middle.alter = alter
        asked = len(middle.asked)
        middle.show(honest)
        error = middle.refusal(since)
        served, sent = middle.active == release, len(middle.asked) - asked
        accepted = middle.accepts(release, honest)
        return Seen(
            refused=bool(error) and not served and sent > 0,
            error=error,
            observed=f"{sent} altered chunks sent, none kept",
            accepted=accepted,
        )

    return act
