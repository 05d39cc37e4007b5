"""Model lines, runs, releases and rollouts, ordered over the API."""

import pytest

from cloud.store.blobs import FileBlobs
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.releases import Releases
from cloud.store.runs import Runs
from shared.ids import sha256
from tests.models import classifier

SCHEMA = {"kind": "classification", "labels": ["a", "b"], "input_shape": [6, 100]}
LINE = {"schema": SCHEMA, "task": "activity", "fleets": ["wards"], "rounds": 3, "seed": 5}
MODEL = classifier()


@pytest.fixture
def devices(world):
    with world.database.write() as connection:
        for number, name in enumerate(["watch-1", "watch-2", "camera-1"]):
            fleet = "lab" if name.startswith("camera") else "wards"
            Devices(connection).put(
                Device(
                    id=name,
                    fleet=fleet,
                    state=DeviceState.ENROLLED,
                    hardware=["cpu"],
                    public_key=name.encode(),
                    node=str(2**63 + number),
                    serial="1",
                    expires_at=2e9,
                    enrolled_at=1.0,
                    last_seen=1.0,
                )
            )


async def test_a_line_is_applied_shown_and_not_applied_twice(world):
    async with world.client() as client:
        assert (await client.put("/models/activity", json=LINE)).status_code == 200
        world.clock.advance(10)
        assert (await client.put("/models/activity", json=LINE)).status_code == 200
        (shown,) = (await client.get("/models")).json()
        assert shown["document"]["rounds"] == 3
        actions = [row["action"] for row in (await client.get("/audit")).json()]
    assert actions.count("model.apply") == 1
    assert world.woken


@pytest.mark.parametrize(
    ("change", "status"),
    [({"colour": "red"}, 400), ({"name": "other"}, 400), ({"schema": 3}, 400), ({"rounds": 0}, 409)],
)
async def test_a_line_that_makes_no_sense_is_refused(world, change, status):
    async with world.client() as client:
        answer = await client.put("/models/activity", json=LINE | change)
        assert (answer.status_code, (await client.get("/models")).json()) == (status, [])


async def test_a_run_takes_what_the_line_says_and_what_the_order_changes(world, devices):
    async with world.client() as client:
        await client.put("/models/activity", json=LINE)
        order = {"model": "activity", "reason": "first", "overrides": {"rounds": 7}, "labels": {"watch-2": 9}}
        answer = await client.post("/runs", json=order)
        assert answer.status_code == 201, answer.text
        run = answer.json()
        assert (run["id"], run["state"], run["cause"]) == ("activity-run-1", "queued", "operator")
        assert run["spec"]["rounds"] == 7
        assert run["spec"]["seed"] == 5
        assert [m["device"] for m in run["spec"]["members"]] == ["watch-1", "watch-2"]  # not the other fleet's camera
        assert [m["node"] for m in run["spec"]["members"]] == [2**63, 2**63 + 1]
        assert [m["labels"] for m in run["spec"]["members"]] == [0, 9]
        again = await client.post("/runs", json={"model": "activity"})
        assert (again.status_code, "not over yet" in again.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"model": "nothing"}, 404),
        ({"model": "activity", "devices": ["nobody"]}, 404),
        ({"model": "activity", "start": "activity-run-9"}, 404),
        ({"model": "activity", "overrides": {"members": []}}, 400),
        ({"model": "activity", "overrides": {"colour": 1}}, 400),
        ({"model": "activity", "overrides": {"rounds": "many"}}, 400),
        ({"model": "activity", "overrides": {"rounds": 0}}, 400),
        ({"model": "activity", "devices": ["watch-1"]}, 400),  # the line asks for two
        ({"model": "street"}, 409),
    ],
)
async def test_runs_that_cannot_be_are_refused_and_nothing_is_queued(world, devices, order, status):
    async with world.client() as client:
        await client.put("/models/activity", json=LINE)
        await client.put("/models/street", json={"schema": SCHEMA})
        answer = await client.post("/runs", json=order)
    assert answer.status_code == status, answer.text
    with world.database.read() as connection:
        assert Runs(connection).all() == []


async def test_a_device_without_a_node_cannot_train(world, devices):
    with world.database.write() as connection:
        Devices(connection).bind_node("watch-1", "", key=b"watch-1")
    async with world.client() as client:
        await client.put("/models/activity", json=LINE)
        answer = await client.post("/runs", json={"model": "activity"})
    assert answer.status_code == 409
    assert "watch-1 is not known to the federated engine" in answer.json()["detail"]


async def upload(client, data=MODEL):
    digest = sha256(data)
    assert (await client.put(f"/blobs/{digest}", content=data)).status_code == 204
    return digest


def imported(*digests, **changes):
    files = [{"name": f"cpu-{n}.onnx", "digest": digest, "precision": "fp32"} for n, digest in enumerate(digests)]
    return {"model": "street", "schema": SCHEMA, "files": files} | changes


async def test_an_imported_model_waits_for_its_signature(world):
    async with world.client() as client:
        digest = await upload(client)
        await upload(client)
        answer = await client.post("/releases", json=imported(digest, evaluation={"map": 0.2}))
        assert answer.status_code == 201, answer.text
        release = answer.json()
        second = (await client.post("/releases", json=imported(digest))).json()
    assert (release["id"], second["id"]) == ("street-1", "street-2")
    assert release["published_at"] is None
    assert release["variants"][0]["digest"] == digest
    with world.database.read() as connection:
        manifest = Releases(connection).get("street-1").document()
    assert sum(chunk.size for chunk in manifest.variants[0].chunks) == len(MODEL)
    assert FileBlobs(world.directory / "blobs").read(digest) == MODEL


async def test_bytes_that_are_not_what_they_are_called_are_not_kept(world):
    async with world.client() as client:
        answer = await client.put(f"/blobs/{sha256(b'other')}", content=MODEL)
        assert answer.status_code == 400
        assert (await client.put("/blobs/nothing", content=MODEL)).status_code == 400
    assert not list((world.directory / "blobs").glob("**/*.part"))
    assert not world.blobs.has(sha256(MODEL))


@pytest.mark.parametrize(
    ("request_body", "status"),
    [
        (imported(), 409),
        (imported("f" * 64), 409),
        (imported("nothing"), 400),
        (imported(sha256(MODEL), model="../x"), 400),
        (imported(sha256(MODEL)) | {"files": [{"name": "../up", "digest": sha256(MODEL), "precision": "fp32"}]}, 400),
        (imported(sha256(MODEL)) | {"files": [imported(sha256(MODEL))["files"][0]] * 2}, 409),
    ],
)
async def test_imports_that_cannot_be_are_refused(world, request_body, status):
    async with world.client() as client:
        await upload(client)
        answer = await client.post("/releases", json=request_body)
        assert answer.status_code == status, answer.text
        assert (await client.get("/releases")).json() == []


async def test_a_rollout_is_planned_and_a_newer_one_takes_its_place(world, devices):
    async with world.client() as client:
        digest = await upload(client)
        for _ in range(2):
            await client.post("/releases", json=imported(digest))
        first = (await client.post("/rollouts", json={"release": "street-1", "fleet": "wards"})).json()
        assert (first["id"], first["waves"]) == ("street-1-wards", [["watch-1"], ["watch-2"]])
        order = {"release": "street-2", "fleet": "wards", "canaries": ["watch-2"], "soak_s": 0}
        second = (await client.post("/rollouts", json=order)).json()
        assert second["waves"] == [["watch-2"], ["watch-1"]]
        states = {row["id"]: row["state"] for row in (await client.get("/rollouts")).json()}
        assert states == {"street-1-wards": "superseded", "street-2-wards": "pending"}
        stranger = await client.post("/rollouts", json=order | {"canaries": ["camera-1"]})
        assert (stranger.status_code, (await client.post("/rollouts", json={"release": "x-1"})).status_code) == (
            409,
            404,
        )
