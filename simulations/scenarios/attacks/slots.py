"""Family `slots`: somebody with the device's disk edits the model that it serves, while it is off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edge.identity import Identity
from shared.ids import sha256
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import SICK, Ground
from simulations.scenarios.attacks.on_the_way import flipped
from simulations.scenarios.attacks.row import Attack, Seen, Threat

LINE = "slotted"
Edit = Callable[[Path], None]

FILE = "m.onnx"


def attacks(ground: Ground) -> Iterator[Attack]:
    """A device for each edit: all have served the release, all were off, and all start again together."""
    edits = list(_edits(ground))
    devices = [f"slot-{number}" for number in range(len(edits) + 1)]
    _serve_once(ground, devices)
    marks = ground.mark()
    for device, (_, _, edit) in zip(devices[1:], edits, strict=True):
        edit(_slot(ground, device))
    agents = [ground.agent(device) for device in devices]
    for agent in agents:
        agent.start()
    try:
        for device, (name, done, _) in zip(devices[1:], edits, strict=True):
            yield Attack(
                name=name,
                threat=Threat.SLOT,
                victim="device",
                done=done,
                control="the same slot unedited on another device serves at once; the edited one is fetched again",
                act=_looking(ground, device, devices[0], marks),
            )
    finally:
        for agent in agents:
            agent.kill()


def _serve_once(ground: Ground, devices: list[str]) -> None:
    """Have the first device fetch the release, and give the others what it then has on its disk."""
    identities = [ground.enrol(device, fleet=SICK) for device in devices]
    release = ground.release(LINE, models.honest(77))
    ground.roll_out(release, fleet=SICK, first=devices[:1])
    agent = ground.agent(devices[0])
    agent.start()
    ground.wait_status(devices[0], "active", release=release)
    agent.stop()
    for identity in identities[1:]:
        for part in ("models", "trust", "journal.json"):
            _copy(_home(identities[0]) / part, _home(identity) / part)


def _edits(ground: Ground) -> Iterator[tuple[str, str, Edit]]:
    yield "altered", "flipped a bit of the model file", _flip
    yield "replaced", "put another model, sealed with a seal of its own, into the slot", _replace
    yield "added", "added a file beside the model", _add
    yield "removed", "removed the manifest from the slot", lambda slot: (slot / "manifest.json").unlink()
    yield "symlinked", "put a link to another file in the model's place", lambda slot: _link(ground, slot)
    yield "hard-linked", "gave the model file a second name outside the slot", _hard_link
    yield "truncated", "cut the model file in half", _truncate


def _flip(slot: Path) -> None:
    path = slot / FILE
    path.write_bytes(flipped(path.read_bytes()))


def _add(slot: Path) -> None:
    (slot / "extra.onnx.data").write_bytes(b"x")


def _replace(slot: Path) -> None:
    """As whoever knows the format would: model, manifest and seal agree with each other."""
    from shared.bundle import decode_release, encode, split

    data = models.honest(666)
    release = decode_release((slot / "manifest.json").read_bytes())
    variant = msgspec.structs.replace(release.variants[0], digest=sha256(data), size=len(data), chunks=split(data))
    manifest = encode(msgspec.structs.replace(release, variants=[variant]))
    seal = msgspec.json.decode((slot / "slot.json").read_bytes())
    seal |= {"digest": variant.digest, "size": variant.size, "manifest": sha256(manifest)}
    (slot / FILE).write_bytes(data)
    (slot / "manifest.json").write_bytes(manifest)
    (slot / "slot.json").write_bytes(msgspec.json.encode(seal, order="sorted"))


def _link(ground: Ground, slot: Path) -> None:
    elsewhere = ground.world.directory / "elsewhere.onnx"
    shutil.copy(slot / FILE, elsewhere)
    (slot / FILE).unlink()
    (slot / FILE).symlink_to(elsewhere)


def _hard_link(slot: Path) -> None:
    (slot.parent.parent / "second-name").hardlink_to(slot / FILE)


def _truncate(slot: Path) -> None:
    path = slot / FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _looking(ground: Ground, device: str, unedited: str, mark: int) -> Callable[[], Seen]:
    def act() -> Seen:
        bad = ground.wait_status(device, "failed", "rolled-back", after=mark)
        again = ground.wait_status(device, "active", after=mark)
        fine = ground.wait_status(unedited, "active", after=mark)
        first = ground.statuses(device, after=mark)[0]
        return Seen(
            refused=first.stage == bad.stage,
            error=bad.reason,
            observed=f"the edited slot was not served; {again.release} was fetched anew",
            accepted=fine.release == again.release,
        )

    return act


def _slot(ground: Ground, device: str) -> Path:
    return ground.world.directory / device / "models" / LINE / "A"


def _home(identity: Identity) -> Path:
    return identity.directory.parent


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy(source, target)
