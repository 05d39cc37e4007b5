"""Doors follow the database, and what stands as it stood is not read again."""

import pytest

from cloud.devices.authority import Authority
from cloud.devices.doors import BrokerDoor, Doors
from cloud.release.sealed import Sealer
from cloud.store.devices import Devices
from shared.clock import VirtualClock
from shared.errors import TransportError
from tests.devices import enrolled


class Nodes:
    """A register of nodes that may be away."""

    def __init__(self):
        self.away, self.asked = False, 0

    def register_node(self, public_key):
        self.asked += 1
        if self.away:
            raise TransportError("away")
        return 7

    def unregister_node(self, node):
        self.asked += 1


@pytest.fixture
def place(database, tmp_path):
    clock = VirtualClock()
    authority = Authority.create(tmp_path / "ca", name="test", sealer=Sealer(b"p", cost=10), at=clock.now())
    door = BrokerDoor(
        access=tmp_path / "access",
        revoked=tmp_path / "revoked.pem",
        pid_file=tmp_path / "pid",
        authority=authority,
        tenant="acme",
    )
    nodes = Nodes()
    return Doors(database=database, broker=door, nodes=nodes, clock=clock), nodes, tmp_path / "access"


def enrol(database, name, key):
    with database.write() as connection:
        Devices(connection).put(enrolled(name, public_key=key))


def test_the_list_follows_every_change_and_is_mended_when_somebody_else_wrote_it(database, place, device_key):
    doors, _, access = place
    enrol(database, "d-1", device_key)
    doors.fit()
    assert "user d-1\n" in access.read_text()
    doors.fit()
    enrol(database, "d-2", device_key)
    doors.fit()
    assert "user d-2\n" in access.read_text()
    access.write_text("user thief\n")
    doors.fit()
    assert "user thief" not in access.read_text()
    with database.write() as connection:
        Devices(connection).revoke("d-1", at=1.0)
    doors.fit()
    assert "user d-1\n" not in access.read_text()


def test_a_register_that_was_away_is_asked_again_though_nothing_changed(database, place, device_key):
    doors, nodes, access = place
    enrol(database, "d-1", device_key)
    nodes.away = True
    for _ in range(2):
        with pytest.raises(TransportError):
            doors.fit()
    assert (nodes.asked, "user d-1\n" in access.read_text()) == (2, True)
    nodes.away = False
    doors.fit()
    doors.fit()
    assert nodes.asked == 3, "a device that has its node is not asked for again"
    with database.read() as connection:
        assert [device.node for device in Devices(connection).standing()] == ["7"]


def test_what_stands_as_it_stood_is_not_read_device_by_device(database, place, device_key, monkeypatch):
    doors, _, _ = place
    enrol(database, "d-1", device_key)
    doors.fit()
    doors.fit()  # the node is on record now
    read = []
    standing = Devices.standing
    monkeypatch.setattr(Devices, "standing", lambda self: read.append(1) or standing(self))
    doors.fit()
    assert not read
    enrol(database, "d-2", device_key)
    doors.fit()
    assert read
