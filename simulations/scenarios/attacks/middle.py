"""The man in the middle: a broker of the attacker's own, which shows the stolen certificate of the honest one.

Whoever owns the broker may give every device any bytes under any name. A victim is a real agent that was enrolled
with the real coordinator and then led astray; the attacker relays the coordinator's signed files, or whatever is
made of them, and answers its requests for chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from cloud.devices.broker import BrokerFiles, Grant, render_access
from cloud.distribution.cut import borders
from shared import topics
from shared.bundle import decode_desired
from shared.codec import pack, unpack
from shared.errors import ContractError
from shared.forms import encode, form_name
from shared.ids import DeviceId, Digest, FleetId, sha256
from shared.messages import Ack, Stage, UpdateStatus, Want
from shared.topics import Down, Up
from simulations.broker import Broker, find_mosquitto
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.ground import MITM, Ground
from simulations.scenarios.attacks.session import PATIENCE_S, Heard, Session, came, wait
from simulations.scenarios.attacks.words import batch_of, statuses_in, windows_in
from simulations.world.ports import free_ports
from simulations.world.process import Process

TIMESTAMP = "metadata/timestamp.json"
MODEL = "toy"

Files = dict[str, bytes]
Alter = Callable[[str, int, bytes], bytes | None]
"""(blob, index, chunk) → what is sent instead; None for nothing."""


def straight(_digest: str, _index: int, data: bytes) -> bytes | None:
    """Alter nothing."""
    return data


class Middle:
    """One attacker's broker, and one victim that meets no other."""

    def __init__(self, ground: Ground, victim: str, *, model: str = MODEL, fleet: str = MITM) -> None:
        self.ground, self.victim, self.model, self.fleet = ground, victim, model, fleet
        self.alter: Alter = straight
        self.asked: list[tuple[str, int]] = []
        """Chunks that the victim asked for."""

        self.process: Process
        self._shown: dict[str, bytes] = {}
        self._seed = sum(victim.encode()) * 1000
        self._directory = ground.world.directory / f"middle-{victim}"
        self._broker = self._make_broker(free_ports(1)[0])
        self._session = Session(self._broker.port, ground.papers("coordinator"), name="coordinator")
        self._session.react(self._answer)

    def open(self) -> None:
        """Start the broker, enrol the victim, lead it astray, and let it reach the first honest release."""
        self.ground.brokers.append(self._broker)
        self._broker.start()
        self._session.open()
        self._session.subscribe(f"{topics.ROOT}/d/+/up/#")
        self.ground.enrol(self.victim, fleet=self.fleet)
        self.ground.redirect(self.victim, self._broker.port)
        release, files = self.ship()
        self.show(files)
        self.start()
        wait(lambda: self.active == release, what=f"{release} on {self.victim}")

    def close(self) -> None:
        """End the victim and the broker."""
        self.process.kill()
        self._session.close()
        self._broker.stop()

    def start(self) -> None:
        """Start the victim's agent, again after a stop."""
        self.process = self.ground.agent(self.victim, model=self.model)
        self.process.start()

    def stop(self) -> None:
        """Stop the victim's agent in good order."""
        self.process.stop()

    @property
    def state(self) -> Path:
        """The victim's directory."""
        return self.ground.world.directory / self.victim

    @property
    def statuses(self) -> list[UpdateStatus]:
        """All that the victim reported of updates."""
        return statuses_in(self._session.on(topics.up(DeviceId(self.victim), Up.UPDATE)))

    @property
    def active(self) -> str:
        """The release that the victim last said it serves."""
        return next((s.release for s in reversed(self.statuses) if s.stage is Stage.ACTIVE), "")

    @property
    def inferred(self) -> int:
        """Windows that the victim says it inferred."""
        heard = self._session.on(topics.up(DeviceId(self.victim), Up.TELEMETRY))
        return sum(window.processed for window in windows_in(heard))

    def ship(self, data: bytes | None = None, **import_as: Any) -> tuple[str, Files]:
        """Have the real coordinator sign and publish the next release for the victim; return it and all files."""
        self._seed += 1
        ground = self.ground
        release = ground.release(self.model, data or models.honest(self._seed), **import_as)
        ground.roll_out(release, fleet=self.fleet, first=[self.victim])
        wait(
            lambda: wanted_in(ground.signed_files(), self.fleet, self.victim).get(self.model) == release,
            what=f"the coordinator's signature on {release}",
        )
        return release, ground.signed_files()

    def show(self, files: Mapping[str, bytes]) -> None:
        """Make the attacker's broker hold exactly these files, the timestamp last, as the coordinator does."""
        prefix = topics.tuf_all(self.ground.tenant).removesuffix("#")
        names = sorted(files, key=lambda name: name == TIMESTAMP)
        for name in names:
            if self._shown.get(name) != files[name]:
                self._session.publish(prefix + name, files[name], retain=True)
        for name in self._shown.keys() - files.keys():
            self._session.publish(prefix + name, b"", retain=True)
        self._shown = dict(files)

    def refusal(self, since: int, *, within_s: float = PATIENCE_S) -> str:
        """What the victim said first against what it was shown, after its report number `since`; empty for nothing."""
        found: list[str] = []

        def complained() -> bool:
            found[:] = [s.reason for s in self.statuses[since:] if s.reason]
            return bool(found)

        came(complained, within_s=within_s)
        return found[0] if found else ""

    def accepts(self, release: str, files: Mapping[str, bytes], *, within_s: float = PATIENCE_S) -> bool:
        """Show honest files, and say whether the victim comes to serve the release they lead to."""
        self.alter = straight
        self.show(files)
        return came(lambda: self.active == release, within_s=within_s)

    def _make_broker(self, port: int) -> Broker:
        layout, place = self.ground.world.layout, self._directory
        place.mkdir(parents=True)
        grant = Grant(DeviceId(self.victim), FleetId(self.fleet), self.ground.tenant)
        (place / "access").write_text(render_access([grant]))
        files = BrokerFiles(
            ca=layout.ca,
            certificate=layout.certificate("broker"),
            key=layout.key("broker"),
            access=place / "access",
        )
        return Broker(place, files, port=port, executable=find_mosquitto(Path(".venv")))

    def _answer(self, message: Heard) -> None:
        device, channel = topics.parse_up(message.topic)
        if channel is Up.WANT:
            self._send_chunks(message)
        elif batch := batch_of(message):
            ack = Ack(boot=batch.boot, channel=batch.channel, seq=batch.records[-1].seq)
            self._session.send(topics.down(device, Down.ACK), pack(ack))

    def _send_chunks(self, message: Heard) -> None:
        try:
            want = unpack(message.payload, Want)
        except ContractError:
            return
        data = self.ground.blobs.get(want.digest, b"")
        places = list(pairwise(borders(data)))
        digest, form = Digest(want.digest), form_name(want.forms, want.base)
        for index in want.indices:
            self.asked.append((want.digest, index))
            start, end = places[index] if index < len(places) else (0, 0)
            sent = self.alter(want.digest, index, data[start:end])
            if sent is None:
                continue
            if form:  # what the device listens to first; after wrong bytes it asks for plain ones
                self._session.send(topics.formed_chunk(digest, form, index), encode(sent))
            else:
                self._session.send(topics.chunk(digest, index), sent)


def newest(files: Mapping[str, bytes], role: str) -> tuple[int, bytes]:
    """Version and bytes of the file of a role that the timestamp leads to; of the root, of its newest.

    There may be newer ones: the coordinator publishes the timestamp last, and for other fleets, too.
    """
    if role == "timestamp":
        return int(_signed(files[TIMESTAMP])["version"]), files[TIMESTAMP]
    if role == "root":
        version = max(int(name.split("/")[1].split(".")[0]) for name in files if name.endswith(".root.json"))
    elif role == "snapshot":
        version = int(_signed(files[TIMESTAMP])["meta"]["snapshot.json"]["version"])
    else:
        version = int(_signed(newest(files, "snapshot")[1])["meta"][f"{role}.json"]["version"])
    return version, files[f"metadata/{version}.{role}.json"]


def wanted_in(files: Mapping[str, bytes], fleet: str, device: str) -> dict[str, str]:
    """What the files say a device should run, if the timestamp already leads all the way; proves nothing."""
    try:
        targets = _signed(newest(files, f"fleet-{fleet}")[1])["targets"]
        path, digest = next((path, target["hashes"]["sha256"]) for path, target in targets.items())
        parent, _, name = path.rpartition("/")
        return decode_desired(files[f"targets/{parent}/{digest}.{name}"]).for_device(device)
    except (KeyError, StopIteration):
        return {}


def stored(path: str, data: bytes) -> str:
    """Name under which a consistent snapshot serves `data` as the target `path`."""
    parent, _, name = path.rpartition("/")
    return f"targets/{parent}/{sha256(data)}.{name}"


def settled(middle: Middle, *, quiet_s: float = 0.3) -> int:
    """Wait until the victim has said what it had to say; return how many reports there are."""
    count = -1
    while count != len(middle.statuses):
        count = len(middle.statuses)
        time.sleep(quiet_s)
    return count


def _signed(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(data)["signed"]
    return document
