"""Devices get in with a token, once, and out when they are revoked."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.audit.log import AuditLog
from cloud.store.devices import Devices
from edge.identity.keys import certificate_request, ensure_key
from shared.audit import verify


def csr(key=None):
    return certificate_request(key or ec.generate_private_key(ec.SECP256R1()))


async def token(client, **request):
    answer = await client.post("/tokens", json=request)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_device_enrols(world):
    async with world.client() as client:
        issued = await token(client, device="watch-1", fleet="wards")
        answer = await client.post(
            "/enrol", json={"token": issued["token"], "csr": csr(), "hardware": ["cpu"], "runtimes": ["onnxruntime"]}
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()
        certificate = x509.load_pem_x509_certificate(told["certificate"].encode())
        assert certificate.subject.rfc4514_string() == "CN=watch-1"
        assert (told["device"], told["fleet"], told["tenant"]) == ("watch-1", "wards", "acme")
        assert told["authority"] == (await client.get("/ca")).text
        seen = (await client.get("/devices/watch-1")).json()
    assert seen["node"] == "7000"
    assert seen["hardware"] == ["cpu"]
    assert "user watch-1\n" in (world.directory / "access").read_text()


async def test_of_fifty_devices_with_one_token_exactly_one_gets_in(world):
    async with world.client() as client:
        issued = await token(client, device="watch-1")
        requests = [client.post("/enrol", json={"token": issued["token"], "csr": csr()}) for _ in range(50)]
        answers = await asyncio.gather(*requests)
    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer.json() for answer in answers if answer.status_code != 200]
    assert len(won) == 1
    assert {problem["status"] for problem in lost} == {409}
    assert all(problem["hint"] and problem["message"] for problem in lost)
    with world.database.read() as connection:
        device = Devices(connection).get("watch-1")
        enrolments = [row for row in AuditLog(connection).rows() if row.action == "device.enrol"]
    assert len(enrolments) == 1
    assert str(x509.load_pem_x509_certificate(won[0].json()["certificate"].encode()).serial_number) == device.serial


async def test_the_same_key_may_ask_again_because_an_answer_can_be_lost(world, tmp_path):
    request = csr(ensure_key(tmp_path / "identity"))
    async with world.client() as client:
        issued = await token(client, device="watch-1")
        first = await client.post("/enrol", json={"token": issued["token"], "csr": request})
        again = await client.post("/enrol", json={"token": issued["token"], "csr": request})
        assert first.json()["device"] == again.json()["device"] == "watch-1"
        other = await client.post("/enrol", json={"token": issued["token"], "csr": csr()})
        assert other.status_code == 409
    assert len(world.nodes.keys) == 1


async def test_an_expired_token_opens_nothing(world):
    async with world.client() as client:
        issued = await token(client, device="watch-1", ttl_s=60)
        world.clock.advance(60)
        answer = await client.post("/enrol", json={"token": issued["token"], "csr": csr()})
    assert answer.status_code == 409
    assert "token" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"token": "hl1.x", "csr": "y"}', 400),
        (b'{"token": "hl1.x", "csr": "' + b"y" * (1 << 20) + b'"}', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_nonsense_is_refused_and_the_api_lives(world, request_body, status):
    async with world.client() as client:
        answer = await client.post("/enrol", content=request_body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("name", ["coordinator", "operator", "UPPER", "a/b", "x" * 64, "../up"])
async def test_tokens_for_impossible_names_are_refused(world, name):
    async with world.client() as client:
        answer = await client.post("/tokens", json={"device": name})
    assert answer.status_code == 400


async def test_a_revoked_device_loses_its_doors(world):
    async with world.client() as client:
        issued = await token(client, device="watch-1")
        await client.post("/enrol", json={"token": issued["token"], "csr": csr()})
        answer = await client.post("/devices/watch-1/revoke", json={"reason": "stolen"})
        assert answer.json()["state"] == "revoked"
        again = await client.post("/devices/watch-1/revoke", json={})
        assert again.status_code == 200
        audit = (await client.get("/audit")).json()
    assert "watch-1" not in (world.directory / "access").read_text()
    assert world.nodes.keys == {}
    crl = x509.load_pem_x509_crl((world.directory / "revoked.pem").read_bytes())
    with world.database.read() as connection:
        serial = int(Devices(connection).get("watch-1").serial)
        assert verify(AuditLog(connection).rows()) is None
    assert crl.get_revoked_certificate_by_serial_number(serial) is not None
    assert [row["reason"] for row in audit if row["action"] == "device.revoke"] == ["stolen"]


async def test_secrets_are_nowhere_in_the_database(world):
    async with world.client() as client:
        issued = await token(client, device="watch-1")
    held = b"".join(path.read_bytes() for path in world.directory.glob("db.sqlite*"))
    assert issued["token"].encode() not in held
    assert world.key.encode() not in held


OPEN = {("GET", "/v1/ca"), ("GET", "/v1/health"), ("POST", "/v1/enrol"), ("POST", "/v1/renew"), ("POST", "/v1/rescue")}


def routes(app):
    return sorted(
        (method, path) for path, operations in app.openapi()["paths"].items() for method in map(str.upper, operations)
    )


async def test_every_other_route_asks_for_a_key(world):
    checked = 0
    async with world.client(key="") as nobody, world.client(key="hlk_wrong") as stranger:
        for method, path in routes(world.app):
            if (method, path) in OPEN:
                continue
            for client in (nobody, stranger):
                answer = await client.request(method, f"https://test{path}".replace("{", "").replace("}", ""))
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["hint"]
                checked += 1
    assert checked > 30


async def test_unknown_names_are_404_with_a_hint(world):
    async with world.client() as client:
        for path in ("/devices/x", "/devices/x/why", "/runs/x", "/releases/x", "/rollouts/x", "/models/x"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown"), path
            assert answer.json()["hint"]
        assert (await client.get("/nothing")).json()["code"] == "http"
