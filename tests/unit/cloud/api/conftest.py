"""The real application over a real database, without a network."""

from dataclasses import dataclass

import httpx
import pytest

from cloud.access.approvers import Approvers
from cloud.access.gate import open_gate
from cloud.access.keys import create
from cloud.api.app import create_app
from cloud.api.services import Services
from cloud.devices.authority import Authority
from cloud.devices.desk import EnrolmentDesk, Welcome
from cloud.devices.doors import BrokerDoor, Doors
from cloud.release.sealed import Sealer
from cloud.settings import AccessSettings
from cloud.store.blobs import FileBlobs
from cloud.store.database import Database
from shared.clock import VirtualClock


class Nodes:
    """A register of Flower nodes that lives here."""

    def __init__(self):
        self.keys = {}

    def register_node(self, public_key):
        return self.keys.setdefault(public_key, 7000 + len(self.keys))

    def unregister_node(self, node):
        self.keys = {key: number for key, number in self.keys.items() if number != node}


@dataclass
class World:
    """A coordinator's API and what lies behind it."""

    database: Database
    blobs: FileBlobs
    clock: VirtualClock
    authority: Authority
    desk: EnrolmentDesk
    nodes: Nodes
    directory: object
    key: str
    app: object
    woken: list

    def client(self, key=None):
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="https://test/v1", headers=headers)


@pytest.fixture
def world(database, tmp_path):
    clock = VirtualClock()
    authority = Authority.create(tmp_path / "ca", name="test", sealer=Sealer(b"p", cost=10), at=clock.now())
    door = BrokerDoor(
        access=tmp_path / "access",
        revoked=tmp_path / "revoked.pem",
        pid_file=tmp_path / "broker.pid",
        authority=authority,
        tenant="acme",
    )
    nodes = Nodes()
    desk = EnrolmentDesk(
        database=database,
        authority=authority,
        doors=Doors(database=database, broker=door, nodes=nodes, clock=clock),
        clock=clock,
        welcome=Welcome(
            url="https://127.0.0.1:8443",
            tenant="acme",
            fleet="lab",
            broker_host="127.0.0.1",
            broker_port=8883,
            superlink="127.0.0.1:9092",
        ),
        root=lambda: b"{}",
        fleets=lambda: ["lab", "wards"],
    )
    blobs, woken = FileBlobs(tmp_path / "blobs"), []
    access = AccessSettings()
    gate = open_gate(access, policy=tmp_path / "policy.cedar", tenant="acme", database=database, clock=clock)
    services = Services(
        database=database,
        gate=gate,
        approvers=Approvers(database=database, clock=clock),
        blobs=blobs,
        clock=clock,
        desk=desk,
        tenant="acme",
        fleet="lab",
        wake=lambda: woken.append(clock.now()),
        health=lambda: {"database": "ok"},
    )
    return World(
        database=database,
        blobs=blobs,
        clock=clock,
        authority=authority,
        desk=desk,
        nodes=nodes,
        directory=tmp_path,
        key=create(database, "ann", at=clock.now()),
        app=create_app(services),
        woken=woken,
    )
