"""What becomes of an identity: renewed, rescued, stolen, copied, revoked, given to another device."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.audit.log import AuditLog
from cloud.devices.alarm import OnClone
from cloud.store.certificates import Certificates
from cloud.store.devices import Devices
from cloud.store.events import Events
from edge.identity.keys import certificate_request, fingerprint, sign
from shared.audit import verify
from shared.enrolment import RenewRequest, RescueRequest, renewal_statement, rescue_statement, to_json

DAY = 86_400.0


class Holder:
    """Whoever holds a key and a certificate; a copy of one is another holder of the same."""

    def __init__(self, client, key=None, certificate=""):
        self.client, self.key, self.certificate = client, key or ec.generate_private_key(ec.SECP256R1()), certificate

    def copy(self):
        return Holder(self.client, self.key, self.certificate)

    async def enrol(self, token):
        answer = await self.client.post("/enrol", json={"token": token, "csr": certificate_request(self.key)})
        return self.take(answer)

    async def renew(self, kind=RenewRequest, statement=renewal_statement, route="/renew", *, key=None, lost=False):
        csr = certificate_request(key or self.key)
        request = kind(certificate=self.certificate, csr=csr, signature=sign(self.key, statement(csr)))
        answer = await self.client.post(route, content=to_json(request))
        return answer if lost else self.take(answer)

    async def rescue(self, **changes):
        return await self.renew(**{"kind": RescueRequest, "statement": rescue_statement, "route": "/rescue", **changes})

    def take(self, answer):
        self.certificate = answer.json()["certificate"] if answer.status_code == 200 else self.certificate
        return answer

    @property
    def serial(self):
        return x509.load_pem_x509_certificate(self.certificate.encode()).serial_number


@pytest.fixture
async def client(world):
    async with world.client() as client:
        yield client


@pytest.fixture
async def device(client):
    return await joined(client)


async def token(client, **request):
    return (await client.post("/tokens", json={"device": "watch-1", **request})).json()["token"]


async def joined(client):
    holder = Holder(client)
    assert (await holder.enrol(await token(client))).status_code == 200
    return holder


def listed(world):
    crl = x509.load_pem_x509_crl((world.directory / "revoked.pem").read_bytes())
    return {entry.serial_number for entry in crl}


def held(world):
    with world.database.read() as connection:
        return Devices(connection).get("watch-1")


def told(world, kind):
    with world.database.read() as connection:
        assert verify(AuditLog(connection).rows()) is None
        return [event for event in Events(connection).after(0) if event.kind == kind]


async def test_each_certificate_replaces_the_one_before(world, device):
    first = device.serial
    assert listed(world) == set()
    world.clock.advance(16 * DAY)
    assert (await device.renew()).status_code == 200
    assert device.serial != first
    assert listed(world) == {first}
    assert held(world).expires_at == world.clock.now() + 30 * DAY
    world.clock.advance(16 * DAY)
    assert (await device.renew()).status_code == 200
    assert first not in listed(world)  # expired, and off the list a day later
    assert held(world).alarm == ""


async def test_an_answer_that_was_lost_is_given_again(world, device):
    world.clock.advance(16 * DAY)
    lost = await device.renew(lost=True)
    again = await device.renew()
    assert lost.json() == again.json()
    assert (await device.renew()).status_code == 200
    assert held(world).alarm == ""


async def test_whoever_shows_a_certificate_after_its_successor_has_a_copy(world, device):
    thief = device.copy()
    world.clock.advance(16 * DAY)
    assert (await device.renew()).status_code == 200
    world.clock.advance(10 * DAY)
    assert (await device.renew()).status_code == 200
    world.clock.advance(1 * DAY)
    assert (await thief.renew()).status_code == 403
    assert "again after its successor" in held(world).alarm
    assert [event.subject for event in told(world, "device.cloned")] == ["watch-1"]
    seen = (await device.client.get("/devices/watch-1")).json()
    assert (seen["state"], seen["alarm"] != "") == ("enrolled", True)
    assert (await thief.renew()).status_code == 403
    assert len(told(world, "device.cloned")) == 1  # once
    assert (await device.renew()).status_code == 200  # the policy only alarms


async def test_a_thief_who_renews_first_is_found_when_the_device_comes(world, device):
    thief = device.copy()
    world.clock.advance(16 * DAY)
    other = ec.generate_private_key(ec.SECP256R1())
    assert (await thief.renew(key=other)).status_code == 200
    assert (await device.renew()).status_code == 403
    assert held(world).alarm


@pytest.mark.parametrize("on_clone", [OnClone.REVOKE])
async def test_the_policy_may_say_that_a_copied_identity_ends(world, device, on_clone):
    object.__setattr__(world.desk._renewals._policy, "on_clone", on_clone)
    thief = device.copy()
    for _ in range(2):
        world.clock.advance(10 * DAY)
        await device.renew()
    await thief.renew()
    assert held(world).state.value == "revoked"
    assert (await device.renew()).status_code == 403
    with world.database.read() as connection:
        assert device.serial in Certificates(connection).revoked(at=world.clock.now())


class TestRescue:
    async def test_a_device_that_was_away_comes_back(self, world, device):
        world.clock.advance(31 * DAY)
        assert (await device.renew()).status_code == 403
        assert (await device.rescue()).status_code == 200
        assert [event.subject for event in told(world, "device.rescued")] == ["watch-1"]
        assert (await device.renew()).status_code == 200
        assert held(world).alarm == ""

    async def test_an_answer_that_was_lost_is_given_again(self, world, device):
        world.clock.advance(31 * DAY)
        lost = await device.rescue(lost=True)
        assert lost.json() == (await device.rescue()).json()

    async def test_a_renewal_whose_answer_was_lost_before_the_device_went_away(self, world, device):
        world.clock.advance(16 * DAY)
        await device.renew(lost=True)
        world.clock.advance(40 * DAY)
        assert (await device.rescue()).status_code == 200
        assert (await device.renew()).status_code == 200
        assert held(world).alarm == ""

    async def test_only_for_so_long(self, world, device):
        world.clock.advance(120 * DAY - 1)
        assert (await device.copy().rescue()).status_code == 200
        other = await joined(device.client)
        world.clock.advance(120 * DAY + 1)
        refused = await other.rescue()
        assert (refused.status_code, "token" in refused.json()["hint"]) == (403, True)

    async def test_not_before_the_end(self, device):
        assert (await device.rescue()).status_code == 409

    async def test_not_for_another_key(self, world, device):
        world.clock.advance(31 * DAY)
        assert (await device.rescue(key=ec.generate_private_key(ec.SECP256R1()))).status_code == 403

    async def test_not_after_it_was_revoked(self, world, device):
        await device.client.post("/devices/watch-1/revoke", json={})
        world.clock.advance(31 * DAY)
        assert (await device.rescue()).status_code == 403

    async def test_not_by_a_recorded_renewal(self, world, device):
        world.clock.advance(31 * DAY)
        assert (await device.rescue(statement=renewal_statement)).status_code == 403
        assert (await device.rescue()).status_code == 200

    async def test_only_by_the_newest_certificate(self, world, device):
        old = device.copy()
        world.clock.advance(16 * DAY)
        await device.renew()
        world.clock.advance(16 * DAY)
        await device.renew()
        world.clock.advance(31 * DAY)
        assert (await old.rescue()).status_code == 403
        assert (await device.rescue()).status_code == 200
        assert held(world).alarm

    async def test_not_with_the_certificate_of_a_former_enrolment(self, world, device):
        await joined(device.client)
        world.clock.advance(31 * DAY)
        assert (await device.rescue()).status_code == 403
        assert held(world).alarm == ""  # somebody with authority gave the name to another key


class TestTokens:
    async def test_one_for_a_key_opens_the_door_for_no_other(self, world, client):
        honest, thief = Holder(client), Holder(client)
        text = await token(client, key_sha256=fingerprint(honest.key))
        refused = await thief.enrol(text)
        assert (refused.status_code, "another key" in refused.json()["detail"]) == (409, True)
        assert (await honest.enrol(text)).status_code == 200

    async def test_a_fingerprint_that_is_none(self, client):
        answer = await client.post("/tokens", json={"device": "watch-1", "key_sha256": "ab:cd"})
        assert answer.status_code == 400

    async def test_a_revoked_device_does_not_come_back_by_the_token_it_has_used(self, world, client):
        text, stolen = await token(client), Holder(client)
        assert (await stolen.enrol(text)).status_code == 200
        assert (await stolen.enrol(text)).status_code == 200  # its answer may have been lost
        await client.post("/devices/watch-1/revoke", json={"reason": "stolen"})
        assert (await stolen.enrol(text)).status_code == 409
        assert held(world).state.value == "revoked"
        assert stolen.serial in listed(world)

    async def test_nor_does_one_whose_name_another_device_has_now(self, world, client):
        text, former = await token(client), Holder(client)
        await former.enrol(text)
        present = await joined(client)
        assert (await former.enrol(text)).status_code == 409
        assert int(held(world).serial) == present.serial


async def test_a_name_given_to_another_device_leaves_the_former_one_with_nothing(world, device):
    node = held(world).node
    assert node
    present = await joined(device.client)
    assert device.serial in listed(world)
    assert present.serial not in listed(world)
    assert node not in {str(number) for number in world.nodes.keys.values()}
    assert len(world.nodes.keys) == 1
    assert (await device.renew()).status_code == 403


async def test_a_revoked_device_that_is_enrolled_anew_keeps_its_old_certificate_on_the_list(world, device):
    await device.client.post("/devices/watch-1/revoke", json={})
    present = await joined(device.client)
    assert listed(world) == {device.serial}
    assert (await present.renew()).status_code == 200
