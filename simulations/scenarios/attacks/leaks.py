"""Family `leaks`: what the whole world has written and said by now, searched for what must not be in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import HONEST, Ground
from simulations.scenarios.attacks.row import Attack, Seen, Threat

OPERATOR_KEY = "operator's API key"

RUN_BYTES = 16
"""Bytes of a window that are looked for: four numbers in a row, which no sketch holds."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """Played last: the more was attacked, the more was written."""
    secrets = _secrets(ground)
    for name, done, places in _places(ground):
        yield Attack(
            name=name,
            threat=Threat.LEAK,
            victim="everybody who writes",
            done=done,
            control="one secret planted in a line beside them is found by the same search",
            act=_searching(secrets, places),
        )
    yield Attack(
        name="raw-windows-in-messages",
        threat=Threat.LEAK,
        victim="devices",
        done="searched every message on the broker for windows that the honest device's sensor saw",
        control="the same search finds them in the recording itself",
        act=lambda: _windows(ground),
    )


def _secrets(ground: Ground) -> Mapping[str, bytes]:
    """Everything that opens something, by what it is."""
    layout = ground.world.layout
    found = {name: text.encode() for name, text in ground.secrets.items()}
    found |= {
        OPERATOR_KEY: ground.key.encode(),
        "passphrase of the key store": layout.passphrase.read_bytes().strip(),
        "control token of the SuperLink": layout.control_token.read_bytes().strip(),
    }
    for device, identity in ground.identities.items():
        found[f"private key of {device}"] = _body(identity.key_file)
    for path in sorted(layout.key("broker").parent.glob("*.key")):
        found[f"private key of {path.stem}"] = _body(path)
    return found


def _body(pem: Path) -> bytes:
    """The middle line of a key in PEM."""
    lines = pem.read_bytes().splitlines()
    return lines[len(lines) // 2]


Places = Callable[[], Mapping[str, bytes]]


def _places(ground: Ground) -> Iterator[tuple[str, str, Places]]:
    world = ground.world

    def logs() -> Mapping[str, bytes]:
        found = [*world.logs.rglob("*.log"), *world.layout.broker_config.parent.glob("*.log")]
        return {path.name: path.read_bytes() for path in found}

    def said() -> Mapping[str, bytes]:
        client = ground.client
        return {
            "audit": msgspec.json.encode(list(client.audit())),
            "events": msgspec.json.encode(client.events(limit=5000)),
            "devices": msgspec.json.encode(client.devices()),
        }

    def messages() -> Mapping[str, bytes]:
        return {"broker": b"\n".join(each.topic.encode() + b" " + each.payload for each in list(ground.tap.heard))}

    def database() -> Mapping[str, bytes]:
        return {path.name: path.read_bytes() for path in world.layout.directory.glob("db.sqlite*")}

    yield "secrets-in-logs", "searched the logs of every process for every secret of this world", logs
    yield "secrets-in-the-audit-log", "searched audit log, timeline and device list for every secret", said
    yield "secrets-in-messages", "searched every message on the broker for every secret", messages
    yield "secrets-in-the-database", "searched the coordinator's database for every secret in clear", database


def _searching(secrets: Mapping[str, bytes], places: Places) -> Callable[[], Seen]:
    def act() -> Seen:
        texts = places()
        found, size = search(texts, secrets), sum(map(len, texts.values()))
        planted = {**texts, "planted": b"GET /?key=" + secrets[OPERATOR_KEY] + b" 200"}
        return Seen(
            refused=not found and size > 0,
            error="; ".join(found),
            observed=f"{len(secrets)} secrets looked for in {size} bytes of {len(texts)} places, {len(found)} found",
            accepted=len(search(planted, secrets)) == len(found) + 1,
        )

    return act


def search(texts: Mapping[str, bytes], secrets: Mapping[str, bytes]) -> list[str]:
    """Which secret is where."""
    return [
        f"{name} in {place}" for place, text in texts.items() for name, data in secrets.items() if data and data in text
    ]


def _windows(ground: Ground) -> Seen:
    raw = models.windows().tobytes()
    pieces = {raw[start : start + RUN_BYTES] for start in range(0, len(raw), 4)}
    recording = (ground.world.directory / HONEST / "windows.npz").read_bytes()
    heard = [each for each in list(ground.tap.heard) if "/up/" in each.topic]
    found = [each.topic for each in heard if _holds(each.payload, pieces)]
    mine = sum(HONEST in each.topic for each in heard)
    return Seen(
        refused=not found and mine > 0,
        observed=f"{len(heard)} messages of devices, {mine} of the honest one; windows in {len(found)}",
        accepted=_holds(recording, pieces),
    )


def _holds(data: bytes, pieces: set[bytes]) -> bool:
    """Whether any of `pieces` lies in `data`, at whatever place."""
    return any(data[start : start + RUN_BYTES] in pieces for start in range(max(len(data) - RUN_BYTES + 1, 0)))
