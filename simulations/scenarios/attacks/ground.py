"""The ground on which every family fights: one world, an operator, a tap on the broker, and devices."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from edge.identity import Identity, enrol
from edge.identity.identity import ENROLMENT_FILE, Enrolment
from fleet.client import Client
from shared import api
from shared.bundle import Schema
from shared.durable import write_atomic
from shared.errors import RefusedError
from shared.ids import DeviceId
from shared.topics import ROOT, Up, tuf_all, up
from simulations.broker import Broker
from simulations.scenarios.attacks import models
from simulations.scenarios.attacks.issuer import Issuer
from simulations.scenarios.attacks.session import PATIENCE_S, Heard, Papers, Session, wait
from simulations.scenarios.attacks.words import statuses_in
from simulations.world.agents import AgentSpec, Replay, agent_process, write_settings
from simulations.world.ports import LOOPBACK
from simulations.world.process import Process
from simulations.world.world import World

TENANT = "acme"
YARD, MITM, PIT, SICK, GUESTS, WATCHES, CROSSED = "yard", "mitm", "pit", "sick", "guests", "watches", "crossed"
FLEETS = (YARD, MITM, PIT, SICK, GUESTS, WATCHES, CROSSED)
CALM, HONEST = "calm", DeviceId("honest-1")
"""The model line and the device that nobody attacks: it must go on serving through everything."""

TELEMETRY_S = 0.5


class Ground:
    """Everything shared; each family makes its own devices."""

    def __init__(self, world: World, issuer: Issuer) -> None:
        """Take a world that is not built yet, and an issuer of operators' tokens that it will be told to believe."""
        self.world, self.issuer = world, issuer
        self.blobs: dict[str, bytes] = {}
        """Digest → bytes of every file that was sent to the coordinator."""

        self.identities: dict[str, Identity] = {}
        self.secrets: dict[str, str] = {}
        """What must appear in no log: name → secret."""

        self.brokers: list[Broker] = []
        """Attackers' own, to be ended with the world whatever happens to the family that started them."""

        self._tap: Session | None = None
        self._lock = threading.Lock()
        self._claims: dict[tuple[str, str], threading.Thread] = {}

    @property
    def client(self) -> Client:
        """The honest operator."""
        return self.world.client

    @property
    def port(self) -> int:
        """Of the honest broker."""
        return self.world.ports[1]

    @property
    def tap(self) -> Session:
        """Hears everything on the honest broker, with the observer's certificate."""
        with self._lock:
            if self._tap is None:
                self._tap = Session(self.port, self.papers("operator"), name="operator")
                self._tap.open()
                self._tap.subscribe(f"{ROOT}/#")
        return self._tap

    def papers(self, name: str) -> Papers:
        """Certificate of one of the coordinator's own, as a thief of its machine has it."""
        layout = self.world.layout
        return Papers(ca=layout.ca, certificate=layout.certificate(name), key=layout.key(name))

    def enrol(self, device: str, *, fleet: str, hardware: Sequence[str] = ("cpu",)) -> Identity:
        """Enrol a device over HTTPS, as its agent does."""
        issued = self.client.create_token(device=device, fleet=fleet)
        self.secrets[f"enrolment token of {device}"] = issued.token.removeprefix("hl1.")
        identity = enrol(
            self.world.directory / device / "identity", token=issued.token, hardware=hardware, runtimes=["onnxruntime"]
        )
        self.identities[device] = identity
        return identity

    def papers_of(self, device: str) -> Papers:
        """An enrolled device's own."""
        identity = self.identities[device]
        return Papers(ca=identity.authority_file, certificate=identity.certificate_file, key=identity.key_file)

    def session(self, device: str) -> Session:
        """A session of a device that has no agent."""
        return Session(self.port, self.papers_of(device), name=device)

    def agent(self, device: str, *, model: str = "", state: Path | None = None) -> Process:
        """An agent's process for an enrolled device, not started; with a pipeline if it has a `model` to serve."""
        home = state or self.world.directory / device
        spec = AgentSpec(
            device=device, state=home, data=None, pipelines=_pipelines(home, model), telemetry_s=TELEMETRY_S,
            drift_inputs=1000,
        )  # fmt: skip  # one look
        process = agent_process(spec, write_settings(spec, token="none"), logs=self.world.logs)  # noqa: S106  enrolled
        self.world.agents[home.name] = process
        return process

    def redirect(self, device: str, port: int) -> None:
        """Have a device meet another broker under its broker's address, as whoever owns its network can."""
        path = self.identities[device].directory / ENROLMENT_FILE
        said = msgspec.json.decode(path.read_bytes(), type=Enrolment)
        write_atomic(path, msgspec.json.encode(msgspec.structs.replace(said, broker_port=port)))

    def release(
        self, model: str, data: bytes, *, hardware: Sequence[str] = ("cpu",), runtime: str = "onnxruntime"
    ) -> str:
        """Import a model file as the operator; return the release's id."""
        digest = self.client.put_blob(data)
        self.blobs[digest] = data
        file = {"name": "m.onnx", "digest": digest, "precision": "fp32", "runtime": runtime, "hardware": list(hardware)}
        schema = msgspec.to_builtins(models.SCHEMA)
        body = {"model": model, "schema": schema, "files": [file], "reason": "attacks"}
        return str(self.post("/releases", body).json()["id"])

    def claim(self, fleet: str, model: str) -> None:
        """Give a fleet's model line to the lane that asks first; what is not in a lane goes before or after them all.

        A rollout supersedes one of the same line that no device was asked by yet, so of two lanes that ship to one
        fleet, one would wait for ever for what the other has put out of the way.

        Raises:
            RefusedError: another lane has it.
        """
        lane = threading.current_thread()
        if lane is threading.main_thread():
            return
        owner = self._claims.setdefault((fleet, model), lane)
        if owner is not lane:
            raise RefusedError(f"{model} of the fleet {fleet} is shipped by {owner.name}", hint="Take another fleet.")

    def roll_out(self, release: str, *, fleet: str, first: Sequence[str] = ()) -> None:
        """Ask the coordinator to bring a release to a fleet, to `first` at once and then to all others.

        Raises:
            RefusedError: another lane ships this line to this fleet.
        """
        self.claim(fleet, release.rpartition("-")[0])
        request = api.RolloutRequest(
            release=release, fleet=fleet, canaries=list(first), waves=[1.0], soak_s=0.0, deadline_s=300.0
        )
        self.client.start_rollout(request)

    def signed_files(self) -> dict[str, bytes]:
        """The tenant's signed files as the honest broker holds them, by name."""
        prefix = tuf_all(self.tenant).removesuffix("#")
        return {t.removeprefix(prefix): data for t, data in list(self.tap.retained.items()) if t.startswith(prefix)}

    @property
    def tenant(self) -> Any:
        """Of this world."""
        return TENANT

    def statuses(self, device: str, *, after: int = 0) -> list[Any]:
        """What a device reported of its updates since the tap's message number `after`."""
        return statuses_in(self.tap.on(up(DeviceId(device), Up.UPDATE), after=after))

    def mark(self) -> int:
        """How many messages the tap has heard."""
        return len(self.tap.heard)

    def wait_status(
        self, device: str, *stages: str, release: str = "", after: int = 0, within_s: float = PATIENCE_S
    ) -> Any:
        """Wait for a device to report one of `stages`; return that report."""
        found: list[Any] = []

        def reported() -> bool:
            found[:] = [
                each
                for each in self.statuses(device, after=after)
                if each.stage in stages and release in ("", each.release)
            ]
            return bool(found)

        wait(reported, what=f"a report of {device}: {' or '.join(stages)}", within_s=within_s)
        return found[-1]

    def telemetry_of(self, device: str, *, after: int = 0) -> list[Heard]:
        """Telemetry messages of a device since a mark."""
        return self.tap.on(up(DeviceId(device), Up.TELEMETRY), after=after)

    def serves(self, device: str = HONEST, *, within_s: float = PATIENCE_S) -> bool:
        """Whether a device goes on reporting telemetry."""
        mark = self.mark()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.telemetry_of(device, after=mark):
                return True
            time.sleep(0.05)
        return False

    def http(self, *, key: str | None = None, headers: Mapping[str, str] | None = None) -> httpx.Client:
        """A plain HTTPS client of the API; without a key it is a stranger's."""
        shown = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=f"https://{LOOPBACK}:{self.world.ports[0]}{api.PREFIX}",
            headers={**shown, **(headers or {})},
            verify=ssl.create_default_context(cafile=str(self.world.layout.ca)),
            timeout=PATIENCE_S,
            trust_env=False,
        )

    def post(self, path: str, body: Any) -> httpx.Response:
        """As the honest operator.

        Raises:
            httpx.HTTPStatusError: the coordinator says no.
        """
        with self.http(key=self.key) as http:
            return http.post(path, content=msgspec.json.encode(body)).raise_for_status()

    @property
    def key(self) -> str:
        """The honest operator's API key."""
        line = next(row for row in self.world.layout.profile.read_text().splitlines() if row.startswith("key = "))
        return line.split('"')[1]

    def close(self) -> None:
        """Hang up, and end the attackers' brokers."""
        for broker in self.brokers:
            broker.stop()
        if self._tap is not None:
            self._tap.close()
            self._tap = None


def _pipelines(home: Path, model: str) -> list[Replay]:
    if not model:
        return []
    recording = home / "windows.npz"
    if not recording.exists():
        home.mkdir(parents=True, exist_ok=True)
        models.write_recording(recording)
    return [Replay(name="sensor", model=model, path=recording, rate=20.0, loop=True)]


def schema() -> Schema:
    """Of every model here."""
    return models.SCHEMA
