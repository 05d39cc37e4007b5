"""A tenant's coordinator: its real API over a database of its own, with something in it to steal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import select

from cloud.access.approvers import Approvers
from cloud.access.gate import open_gate
from cloud.access.keys import create
from cloud.api.app import create_app
from cloud.api.services import Services
from cloud.devices.authority import Authority
from cloud.devices.desk import EnrolmentDesk, Welcome
from cloud.devices.doors import BrokerDoor, Doors
from cloud.loop.central_orders import order_evaluation
from cloud.loop.orders import apply_line, order_rollout
from cloud.loop.run_orders import order_run
from cloud.release.sealed import Sealer
from cloud.settings import AccessSettings
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database, open_database, sqlite_url
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.quarantine import Quarantine, Strike
from cloud.store.releases import Releases
from cloud.store.tables import metadata
from shared.api import RolloutRequest, RunRequest
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.clock import VirtualClock
from shared.ids import sha256
from shared.jobs import EvaluationRequest
from tests.models import LABELS, SHAPE, classifier

DATA = classifier()
OTHER = b"other" * 100
SCHEMA = {"kind": "classification", "labels": LABELS, "input_shape": SHAPE}
LINE = {"name": "street", "fleets": ["lab"], "members": ["secret-1"], "task": "activity", "schema": SCHEMA}
LINE |= {"min_devices": 1}


@dataclass
class Tenant:
    """One coordinator's real API over its own database."""

    name: str
    database: Database
    app: Any
    clock: VirtualClock
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    def key(self, role: str, fleet: str) -> str:
        if (role, fleet) not in self.keys:
            name = f"{role}-{'all' if fleet == '*' else fleet}"
            self.keys[role, fleet] = create(self.database, name, at=0.0, roles=[role], fleets=[fleet])
        return self.keys[role, fleet]

    def client(self, credential: str) -> Sync:
        return Sync(self.app, credential)

    def dump(self) -> dict[str, Any]:
        """All state but the time of last use, which is nobody's secret."""
        with self.database.read() as connection:
            return {
                table.name: [
                    tuple(value for column, value in row.items() if column != "used_at")
                    for row in connection.execute(select(table)).mappings()
                ]
                for table in metadata.sorted_tables
            }


class Sync:
    """The application without a network, for callers that do not await."""

    def __init__(self, app: Any, credential: str) -> None:
        self._app = app
        self._headers = {"authorization": f"Bearer {credential}"} if credential else {}

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, sent))

    async def _request(self, method: str, path: str, sent: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://test/v1", headers=self._headers) as client:
            return await client.request(method, path, **sent)


class Nodes:
    def register_node(self, public_key: bytes) -> int:
        return 7000

    def unregister_node(self, node: int) -> None:
        pass


def build(place, name, issuer, clock, *, approvals=1):
    place.mkdir()
    database = open_database(sqlite_url(place / "db.sqlite"))
    authority = Authority.create(place / "ca", name=name, sealer=Sealer(b"p", cost=4), at=clock.now())
    door = BrokerDoor(
        access=place / "access",
        revoked=place / "revoked.pem",
        pid_file=place / "pid",
        authority=authority,
        tenant=name,
    )
    welcome = Welcome(
        url="https://127.0.0.1:8443",
        tenant=name,
        fleet="lab",
        broker_host="127.0.0.1",
        broker_port=1,
        superlink="127.0.0.1:2",
    )
    desk = EnrolmentDesk(
        database=database,
        authority=authority,
        doors=Doors(database=database, broker=door, nodes=Nodes(), clock=clock),
        clock=clock,
        welcome=welcome,
        root=lambda: b"{}",
        fleets=lambda: ["lab", "wards"],
    )
    access = AccessSettings(
        issuer=issuer.url,
        audience=issuer.audience,
        per_minute=10**6,
        strangers_per_minute=10**6,
        failures_per_minute=10**6,
    )
    blobs = FileBlobs(place / "blobs")
    services = Services(
        database=database,
        gate=open_gate(access, policy=place / "policy.cedar", tenant=name, database=database, clock=clock),
        approvers=Approvers(database=database, clock=clock, needed=approvals),
        blobs=blobs,
        clock=clock,
        desk=desk,
        tenant=name,
        fleet="lab",
        wake=lambda: None,
        health=lambda: {"database": "ok"},
    )
    fill(database, blobs, clock)
    return Tenant(name, database, create_app(services), clock)


def fill(database, blobs, clock):
    """A device, a line, a run, a release and a rollout of fleet `lab`, with one telling name."""
    blobs.put_stream([DATA], expected=sha256(DATA))
    variant = Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    release = Release(
        id="street-1", model="street", counter=1, schema=Schema(**SCHEMA), variants=[variant], created=clock.now()
    )
    create(database, "leaver", at=0.0, roles=["viewer"])
    with database.write() as connection:
        for name, fleet in (("secret-1", "lab"), ("ward-1", "wards")):
            Devices(connection).put(
                Device(
                    id=name,
                    fleet=fleet,
                    state=DeviceState.ENROLLED,
                    hardware=["cpu"],
                    public_key=name.encode(),
                    node="7000",
                    serial="1",
                    expires_at=clock.now() + 1e6,
                    enrolled_at=clock.now(),
                    last_seen=clock.now(),
                )
            )
        apply_line(connection, "street", LINE, at=clock.now(), by="operator:boss")
        apply_line(connection, "fresh", LINE | {"name": "fresh"}, at=clock.now(), by="operator:boss")
        strike = Strike(device="secret-1", run="street-run-0", round=1, at=0.0, check="form", reason="-", measured="")
        Quarantine(connection).strike(strike)
        order_run(connection, RunRequest(model="street"), fleet="lab", at=clock.now(), by="operator:boss")
        Releases(connection).add(release)
        asked = EvaluationRequest(release="street-1", data="clinic")
        order_evaluation(connection, asked, at=clock.now(), by="operator:boss")
        order_rollout(connection, RolloutRequest(release="street-1"), fleet="lab", at=clock.now(), by="operator:boss")
