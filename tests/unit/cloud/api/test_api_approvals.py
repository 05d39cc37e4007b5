"""A release that waits for two people, over the API, and the publication that waits with it."""

import dataclasses

import pytest
from msgspec.structs import replace

from cloud.access.approvers import Approvers, content
from cloud.access.keys import create
from cloud.api.app import create_app
from cloud.audit.log import AuditLog
from cloud.loop.orders import order_release
from cloud.store.releases import Releases
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.ids import sha256

DATA = b"model" * 100
WHY = {"hinterland-reason": "gepr%C3%BCft"}


@pytest.fixture
def waiting(world):
    """A world where two people must approve, with a release that `author` ordered."""
    services = world.app.state.services
    approvers = Approvers(database=world.database, clock=world.clock, needed=2)
    world.app = create_app(dataclasses.replace(services, approvers=approvers))
    variant = Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(DATA),
        size=len(DATA),
        chunks=split(DATA),
    )
    schema = Schema(kind="classification", labels=["a", "b"], input_shape=[3, 10])
    release = Release(id="m-1", model="m", counter=1, schema=schema, variants=[variant], created=1.0)
    with world.database.write() as connection:
        order_release(connection, release, at=1.0, by="operator:author")
    keys = {
        name: create(world.database, name, at=1.0, roles=["release-manager"]) for name in ("author", "bob", "carol")
    }
    return world, keys, approvers


def stands(world, approvers):
    with world.database.read() as connection:
        return approvers.approved(Releases(connection).get("m-1"))


async def test_two_others_must_approve_what_they_saw(waiting):
    world, keys, approvers = waiting
    async with world.client(keys["bob"]) as bob, world.client(keys["carol"]) as carol:
        seen = (await bob.get("/releases/m-1")).json()
        assert (seen["approval"], seen["votes"]) == ("waiting", [])
        said = {"digest": seen["content"], "reason": "looked at it"}
        async with world.client(keys["author"]) as author:
            assert (await author.post("/releases/m-1/approve", json=said)).status_code == 409
        assert (await bob.post("/releases/m-1/approve", json=said)).json()["approval"] == "waiting"
        assert (await bob.post("/releases/m-1/approve", json=said)).json()["approval"] == "waiting"
        other = {"digest": sha256(b"another")}
        assert (await carol.post("/releases/m-1/approve", json=other)).status_code == 409
        assert not stands(world, approvers)
        done = await carol.post("/releases/m-1/approve", json={"digest": seen["content"]}, headers=WHY)
        assert done.json()["approval"] == "approved"
    assert stands(world, approvers)
    with world.database.read() as connection:
        rows = [(r.actor, r.reason) for r in AuditLog(connection).rows() if r.action == "release.approve"]
    assert rows[0] == ("operator:bob", "looked at it")
    assert rows[-1] == ("operator:carol", "geprüft")


async def test_one_no_stops_it_until_it_is_taken_back(waiting):
    world, keys, approvers = waiting
    async with world.client(keys["bob"]) as bob, world.client(keys["carol"]) as carol:
        said = {"digest": (await bob.get("/releases/m-1")).json()["content"]}
        await bob.post("/releases/m-1/approve", json=said)
        refused = await carol.post("/releases/m-1/reject", json=said | {"reason": "too slow"})
        assert refused.json()["approval"] == "rejected"
        assert [vote["reason"] for vote in refused.json()["votes"] if not vote["approved"]] == ["too slow"]
        assert not stands(world, approvers)
        assert (await carol.post("/releases/m-1/approve", json=said)).json()["approval"] == "approved"


def test_votes_for_other_bytes_count_for_nothing_and_signatures_are_not_content(waiting):
    world, _, _ = waiting
    with world.database.write() as connection:
        row = Releases(connection).get("m-1")
        manifest = row.document()
        signed = [replace(variant, signature="{}") for variant in manifest.variants]
        after = Releases(connection).signed(replace(manifest, variants=signed))
        assert after.digest != row.digest
        assert content(after) == content(row)
        smaller = [replace(variant, precision="int8") for variant in manifest.variants]
        assert content(Releases(connection).signed(replace(manifest, variants=smaller))) != content(row)


async def test_where_nobody_is_asked_there_is_nothing_to_approve(world):
    async with world.client() as client:
        answer = await client.post("/releases/m-1/approve", json={"digest": sha256(b"x")})
    assert answer.status_code == 404
