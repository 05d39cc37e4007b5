"""One turn of the rotation: when it asks, when it waits, and that the session follows."""

import datetime
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.devices.authority import Authority
from cloud.release import Sealer
from edge.identity import Identity, Rotation, due
from edge.identity.keys import certificate_request, ensure_key
from shared.bus.memory import MemoryBroker
from shared.clock import VirtualClock
from shared.durable import write_atomic

DAY = 86_400.0


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def identity(tmp_path, clock):
    """An enrolled device whose coordinator does not answer."""
    authority = Authority.create(tmp_path / "ca", name="demo", sealer=Sealer(b"s", cost=4), at=clock.now())
    made = Identity(
        directory=tmp_path / "identity", device="wrist-1", fleet="lab", tenant="demo", url="https://127.0.0.1:1",
        broker_host="127.0.0.1", broker_port=1, superlink="", server_name="", root=b"",
    )  # fmt: skip
    csr = certificate_request(ensure_key(made.directory))
    write_atomic(made.authority_file, authority.certificate.encode())
    write_atomic(made.certificate_file, authority.issue_device(csr, "wrist-1", at=clock.now()).encode())
    return made


@pytest.fixture
def rotation(identity, clock):
    bus = MemoryBroker().bus("wrist-1")
    return Rotation(identity, bus=bus, clock=clock, now=clock.now, random=Random(1))


async def test_nothing_is_asked_before_it_is_due(rotation, identity, clock):
    assert await rotation.turn_once() == 60
    clock.at = due(identity) - 10
    assert 9 <= await rotation.turn_once() <= 10


async def test_a_failure_is_followed_by_longer_and_longer_pauses(rotation, identity, clock, caplog):
    clock.at = due(identity)
    pauses = [await rotation.turn_once() for _ in range(12)]
    assert pauses[0] <= 30
    assert max(pauses) <= 3600
    assert sum(pauses[6:]) > 10 * sum(pauses[:3])
    assert "was not renewed" in caplog.text


async def test_a_device_without_a_session_asks_although_it_is_not_due(rotation, clock, caplog):
    assert await rotation.turn_once() == 60
    assert not caplog.records
    clock.advance(900)
    await rotation.turn_once()
    assert "was not renewed" in caplog.text


async def test_a_damaged_certificate_ends_nothing(rotation, identity, caplog):
    identity.certificate_file.write_bytes(b"\0")
    assert await rotation.turn_once() > 0
    assert "damaged" in caplog.text


def test_renewal_leaves_a_quarter_of_the_life(identity):
    held = x509.load_pem_x509_certificate(identity.certificate_file.read_bytes())
    assert isinstance(held.public_key(), ec.EllipticCurvePublicKey)
    left = held.not_valid_after_utc - datetime.datetime.fromtimestamp(due(identity), tz=datetime.UTC)
    assert left > datetime.timedelta(days=7.4)
