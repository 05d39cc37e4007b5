"""Whatever the API changes is in the audit log with who did it and why, in the same transaction or not at all."""

import dataclasses

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from cloud.audit.log import AuditLog
from cloud.loop.budget_votes import proposal_digest
from cloud.store.privacy import BudgetRow, Privacy
from cloud.store.quarantine import Quarantine, Strike
from cloud.store.releases import Releases
from cloud.store.tables import metadata
from edge.identity.keys import certificate_request, sign
from shared.audit import verify
from shared.bundle import Release, Schema
from shared.enrolment import RenewRequest, RescueRequest, renewal_statement, rescue_statement, to_json
from shared.ids import sha256
from tests.models import classifier

DATA = classifier()
SCHEMA = {"kind": "detection", "labels": ["person"], "input_shape": [3, 300, 300]}
CHANGING = {"post", "put", "patch", "delete"}


class Play:
    """Requests, one a route that changes something, in an order in which each can succeed."""

    def __init__(self, world, client):
        self.world, self.client, self.routes, self.rows = world, client, set(), []
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.csr = certificate_request(self.key)

    async def __call__(self, route, action, *, actor="operator:ann", reason="", path=None, **request):
        """Ask twice: while the log cannot take a row nothing must change, then for good."""
        method, _, template = route.partition(" ")
        self.routes.add(route)
        address, said = (path or template).removeprefix("/v1"), {"hinterland-reason": reason} if reason else {}
        before = self.state()
        self.log_away(True)
        failed = await self.client.request(method, address, headers=said, **request)
        self.log_away(False)
        assert failed.status_code >= 500, (route, failed.text)
        assert self.state() == before, route
        answer = await self.client.request(method, address, headers=said, **request)
        assert answer.is_success, (route, answer.text)
        fresh = self.log()[len(self.rows) :]
        self.rows += fresh
        (row,) = [row for row in fresh if row.action == action] or [None]
        assert row is not None, (route, [row.action for row in fresh])
        assert (row.actor, row.reason) == (actor, reason), route
        assert row.before or row.after, route
        return answer

    def log(self):
        with self.world.database.read() as connection:
            return AuditLog(connection).rows()

    def log_away(self, away):
        names = ("audit", "away") if away else ("away", "audit")
        with self.world.database.write() as connection:
            connection.execute(text("ALTER TABLE {} RENAME TO {}".format(*names)))

    def state(self):
        """All rows of all tables, but for the time a key was last used."""
        with self.world.database.read() as connection:
            return {
                table.name: [
                    {name: value for name, value in row.items() if name != "used_at"}
                    for row in connection.execute(table.select()).mappings()
                ]
                for table in metadata.sorted_tables
            }


@pytest.fixture
async def play(world):
    services = world.app.state.services
    approvers = dataclasses.replace(services.approvers, needed=1)
    world.app.state.services = dataclasses.replace(services, approvers=approvers)
    async with world.client() as client:
        yield Play(world, client)


def proven(kind, statement, play, certificate):
    signature = sign(play.key, statement(play.csr))
    return msgspec.json.decode(to_json(kind(certificate=certificate, csr=play.csr, signature=signature)))


async def test_every_route_that_changes_something_leaves_a_row_or_nothing(play):
    world, device = play.world, {"actor": "device:watch-1"}
    issued = (
        await play("POST /v1/tokens", "token.create", reason="new", json={"device": "watch-1", "fleet": "lab"})
    ).json()
    told = await play("POST /v1/enrol", "device.enrol", **device, json={"token": issued["token"], "csr": play.csr})
    world.clock.advance(86_400)
    renewal = proven(RenewRequest, renewal_statement, play, told.json()["certificate"])
    renewed = await play("POST /v1/renew", "device.renew", **device, json=renewal)
    ended = x509.load_pem_x509_certificate(renewed.json()["certificate"].encode()).not_valid_after_utc.timestamp()
    world.clock.advance(ended - world.clock.now() + 60)
    rescue = proven(RescueRequest, rescue_statement, play, renewed.json()["certificate"])
    await play("POST /v1/rescue", "device.rescue", **device, json=rescue)

    line = {"schema": SCHEMA, "fleets": [], "task": "activity", "rounds": 2, "min_devices": 1}
    await play("PUT /v1/models/{name}", "model.apply", path="/v1/models/street", reason="wanted", json=line)
    path = "/v1/fleets/lab/distribution"
    rule = {"rate_mib_s": 2.0}
    await play("PUT /v1/fleets/{fleet}/distribution", "fleet.distribution", path=path, reason="metered", json=rule)
    path, masks = "/v1/fleets/lab/masks", {"devices": {"*": {"gate": [{"box": [0, 0, 0.5, 1]}]}}}
    await play("PUT /v1/fleets/{fleet}/masks", "fleet.masks", path=path, reason="neighbours", json=masks)
    order = {"model": "street", "reason": "more data"}
    await play("POST /v1/runs", "run.create", reason="more data", json=order)
    blob = f"/blobs/{sha256(DATA)}"
    assert (await play.client.put(blob, content=DATA)).status_code == 204
    play.routes.add("PUT /v1/blobs/{digest}")
    play.rows = play.log()
    assert (play.rows[-1].action, play.rows[-1].actor, play.rows[-1].subject) == (
        "blob.put", "operator:ann", sha256(DATA),
    )  # fmt: skip
    files = [{"name": "cpu-fp32.onnx", "digest": sha256(DATA), "precision": "fp32"}]
    imported = {"model": "street", "schema": SCHEMA, "files": files, "reason": "bought"}
    made = (await play("POST /v1/releases", "release.create", reason="bought", json=imported)).json()
    said = {"digest": made.get("content") or made["digest"], "reason": "looked at"}
    for word in ("reject", "approve"):
        path = f"/v1/releases/street-1/{word}"
        await play(f"POST /v1/releases/{{release}}/{word}", f"release.{word}", path=path, reason="looked at", json=said)
    rollout = {"release": "street-1", "fleet": "lab", "reason": "winter"}
    await play("POST /v1/rollouts", "rollout.create", reason="winter", json=rollout)

    with world.database.write() as connection:
        judged = Release(
            id="bought-1", model="bought", counter=1, schema=Schema(**SCHEMA | {"kind": "classification"}),
            variants=[], created=0.0,
        )  # fmt: skip
        Releases(connection).add(judged)
    asked = {"release": "bought-1", "data": "clinic", "reason": "audit"}
    await play("POST /v1/evaluations", "job.create", reason="audit", json=asked)
    path = "/v1/jobs/bought-1-evaluation-1/cancel"
    await play("POST /v1/jobs/{job}/cancel", "job.cancel", path=path, reason="late", json={"reason": "late"})

    path, labels = "/v1/devices/watch-1/labels", {"labels": {"site": "hamburg"}}
    await play("PUT /v1/devices/{device}/labels", "device.label", path=path, reason="moved", json=labels)
    document = {"kind": "rollout", "release": "street-1", "fleet": "lab", "approvals": 1, "reason": "careful"}
    changed = await play("POST /v1/rollouts/apply", "rollout.change", reason="careful", json=document)
    place = f"/v1/rollouts/{changed.json()['rollout']}"
    content = (await play.client.get(place.removeprefix("/v1"))).json()["content"]
    for word in ("reject", "approve"):
        said = {"digest": content, "reason": "looked at"}
        where, path = f"POST /v1/rollouts/{{rollout}}/{word}", f"{place}/{word}"
        await play(where, f"rollout.{word}", path=path, reason="looked at", json=said)
    for word in ("pause", "resume", "abort"):
        where, path = f"POST /v1/rollouts/{{rollout}}/{word}", f"{place}/{word}"
        await play(where, f"rollout.{word}", path=path, reason="so", json={"reason": "so"})
    again = (await play("POST /v1/rollouts", "rollout.create", reason="winter", json=rollout)).json()
    path = f"/v1/rollouts/{again['id']}/rollback"
    await play(
        "POST /v1/rollouts/{rollout}/rollback", "rollout.rollback", path=path, reason="so", json={"reason": "so"}
    )

    strike = Strike(device="watch-1", run="street-run-1", round=1, at=0.0, check="finite", reason="NaN", measured="")
    with world.database.write() as connection:
        Quarantine(connection).strike(strike)
    path = "/v1/quarantine/watch-1/release"
    said = {"reason": "new sensor"}
    await play("POST /v1/quarantine/{device}/release", "device.release", path=path, reason="new sensor", json=said)

    promise = {"epsilon": 8.0, "delta": 1e-5, "reason": "as agreed"}
    path = "/v1/privacy/street"
    await play("PUT /v1/privacy/{population}", "privacy.budget", path=path, reason="as agreed", json=promise)
    with world.database.write() as connection:
        proposal = BudgetRow(population="street", epsilon=9.0, delta=1e-5, at=1.0, by="operator:eve", reason="more")
        Privacy(connection).propose(proposal)
    said = {"digest": proposal_digest(proposal), "reason": "asked again"}
    for word in ("reject", "approve"):
        where, path = f"POST /v1/privacy/{{population}}/{word}", f"/v1/privacy/street/{word}"
        await play(where, f"privacy.{word}", path=path, reason="asked again", json=said)

    asked = {"name": "bob", "roles": ["viewer"], "reason": "joined"}
    await play("POST /v1/keys", "key.create", reason="joined", json=asked)
    path = "/v1/keys/bob/revoke"
    await play("POST /v1/keys/{name}/revoke", "key.revoke", path=path, reason="left", json={"reason": "left"})
    path = "/v1/devices/watch-1/revoke"
    await play(
        "POST /v1/devices/{device}/revoke", "device.revoke", path=path, reason="stolen", json={"reason": "stolen"}
    )

    spoken = world.app.openapi()["paths"].items()
    changing = {f"{method.upper()} {path}" for path, ways in spoken for method in ways if method in CHANGING}
    assert play.routes == changing, "a route that changes something has no place in this test"
    assert verify(play.log()) is None


async def test_what_changes_nothing_leaves_no_row(play):
    await play.client.put("/models/street", json={"schema": SCHEMA})
    before = play.log()
    await play.client.put("/models/street", json={"schema": SCHEMA})
    for path in ("/models", "/devices", "/audit", "/health"):
        assert (await play.client.get(path)).is_success
    assert play.log() == before
