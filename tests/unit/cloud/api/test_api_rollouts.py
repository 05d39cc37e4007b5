"""Rollouts by document over the API: rehearsed, begun, changed, stopped, voted on."""

import msgspec
import pytest

from cloud.access.keys import create
from cloud.loop.orders import order_release
from cloud.rollout.evidence import evidence_of
from cloud.rollout.state import RolloutState
from cloud.store.devices import Device, Devices, DeviceState
from cloud.store.rollouts import Rollouts
from cloud.store.shadows import Shadows
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.ids import sha256
from shared.messages import ShadowReport, Stage, UpdateStatus

DATA = b"model" * 100
SCHEMA = Schema(kind="classification", labels=["a", "b"], input_shape=[3, 10])
NAMES = ["cam-1", "cam-2", "cam-3", "cam-4"]
DOCUMENT = {"kind": "rollout", "release": "m-1", "waves": [{"count": 1}, {"percent": 100}]}


@pytest.fixture
def fleet(world):
    """Four devices at two sites, and a release for them."""
    variant = Variant(
        name="cpu.onnx", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"], digest=sha256(DATA),
        size=len(DATA), chunks=split(DATA),
    )  # fmt: skip
    with world.database.write() as connection:
        for number, name in enumerate(NAMES):
            device = Device(
                id=name, fleet="lab", state=DeviceState.ENROLLED, hardware=["cpu"], public_key=b"", serial="1",
                expires_at=9e9, enrolled_at=1.0, last_seen=1.0, labels={"site": "kiel" if number % 2 else "bonn"},
            )  # fmt: skip
            Devices(connection).put(device)
        for counter in (1, 2):
            release = Release(
                id=f"m-{counter}", model="m", counter=counter, schema=SCHEMA, variants=[variant], created=1.0
            )
            order_release(connection, release, at=1.0, by="operator:author")
    return world


async def test_a_rehearsal_shows_the_plan_and_leaves_nothing(fleet):
    async with fleet.client() as ann:
        told = (await ann.post("/rollouts/apply?dry_run=true", json=DOCUMENT)).json()
        assert (told["change"], told["waves"]) == ("created", [["cam-1"], ["cam-2", "cam-3", "cam-4"]])
        assert (await ann.get("/rollouts")).json() == []
        assert fleet.woken == []


async def test_the_same_document_twice_changes_nothing(fleet):
    async with fleet.client() as ann:
        first = (await ann.post("/rollouts/apply", json=DOCUMENT)).json()
        again = (await ann.post("/rollouts/apply", json=DOCUMENT)).json()
        assert (first["change"], again["change"], again["rollout"]) == ("created", "unchanged", first["rollout"])
        other = DOCUMENT | {"waves": [{"count": 2}]}
        changed = (await ann.post("/rollouts/apply", json=other)).json()
        assert (changed["change"], [len(wave) for wave in changed["waves"]]) == ("changed", [2, 2])
        newer = (await ann.post("/rollouts/apply", json=DOCUMENT | {"release": "m-2"})).json()
        assert newer["supersedes"] == [first["rollout"]]
        states = {one["id"]: one["state"] for one in (await ann.get("/rollouts")).json()}
        assert states == {"m-1-lab": "superseded", "m-2-lab": "pending"}


async def test_said_again_for_another_reason_it_is_the_same(fleet):
    async with fleet.client() as ann:
        await ann.post("/rollouts/apply", json=DOCUMENT, headers={"hinterland-reason": "spring"})
        again = await ann.post("/rollouts/apply", json=DOCUMENT, headers={"hinterland-reason": "still"})
        assert again.json()["change"] == "unchanged"


async def test_what_the_model_line_asks_for_is_the_least(fleet):
    async with fleet.client() as ann:
        line = {"schema": {"kind": "classification", "labels": ["a", "b"], "input_shape": [3, 10]}, "approvals": 2}
        assert (await ann.put("/models/m", json=line)).status_code == 200
        for asked, needed in ((0, 2), (1, 2), (2, 2)):
            name = (await ann.post("/rollouts/apply", json=DOCUMENT | {"approvals": asked})).json()["rollout"]
            shown = (await ann.get(f"/rollouts/{name}")).json()
            assert (shown["spec"]["approvals"], shown["approval"]) == (needed, "waiting")


async def test_a_rehearsal_of_labels_and_lines_leaves_nothing(fleet):
    async with fleet.client() as ann:
        told = await ann.put("/devices/cam-1/labels?dry_run=true", json={"labels": {"line": "3"}})
        assert told.json()["labels"] == {"line": "3"}
        assert (await ann.get("/devices/cam-1")).json()["labels"] == {"site": "bonn"}
        line = {"schema": {"kind": "classification", "labels": ["a"], "input_shape": [3]}}
        assert (await ann.put("/models/new?dry_run=true", json=line)).json()["name"] == "new"
        assert (await ann.put("/models/new?dry_run=true", json=line | {"round": 3})).status_code == 400
        assert (await ann.get("/models")).json() == []
        assert fleet.woken == []


async def test_devices_of_a_rollout_page_by_page(fleet):
    async with fleet.client() as ann:
        name = (await ann.post("/rollouts/apply", json=DOCUMENT)).json()["rollout"]
        with fleet.database.write() as connection:
            status = UpdateStatus(model="m", release="m-1", stage=Stage.FAILED, reason="full")
            Rollouts(connection).record([("cam-3", status)], at=3.0)
        small = (await ann.get(f"/rollouts/{name}?devices=false")).json()
        assert (small["devices"], small["waves"], small["progress"][1]["failed"]) == ([], [], 1)
        assert len((await ann.get(f"/rollouts/{name}")).json()["devices"]) == 4
        pages, after = [], ""
        while page := (await ann.get(f"/rollouts/{name}/devices", params={"after": after, "limit": 3})).json():
            pages.append([row["device"] for row in page])
            after = pages[-1][-1]
        assert pages == [["cam-1", "cam-2", "cam-3"], ["cam-4"]]
        (bad,) = (await ann.get(f"/rollouts/{name}/devices?failed=true")).json()
        assert (bad["device"], bad["wave"], bad["reason"]) == ("cam-3", 1, "full")
        for wrong in ("limit=0", "limit=1001", "after=%00", "limit=x"):
            assert (await ann.get(f"/rollouts/{name}/devices?{wrong}")).status_code == 400
        assert (await ann.get("/rollouts/nope/devices")).status_code == 404


async def test_labels_choose_devices(fleet):
    async with fleet.client() as ann:
        document = DOCUMENT | {"target": {"labels": {"site": "kiel"}}, "waves": []}
        told = (await ann.post("/rollouts/apply", json=document)).json()
        assert told["waves"] == [["cam-2"], ["cam-4"]]
        labelled = await ann.put("/devices/cam-1/labels", json={"labels": {"site": "kiel", "line": "3"}})
        assert labelled.json()["labels"] == {"site": "kiel", "line": "3"}


@pytest.mark.parametrize("labels", [{"Site": "x"}, {"site": ""}, {"site": "a\nb"}, {f"k{n}": "v" for n in range(33)}])
async def test_what_is_no_label_is_refused(fleet, labels):
    async with fleet.client() as ann:
        answer = await ann.put("/devices/cam-1/labels", json={"labels": labels})
        assert (answer.status_code, answer.json()["code"]) == (400, "contract")


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"release": "m-9"}, 404, "no release"),
        ({"release": "m-1", "wave": []}, 400, "wave"),
        ({"release": "m-1", "canaries": ["cam-9"]}, 409, "cam-9"),
        ({"release": "m-1", "abort": {"failed": 3}}, 409, "abort.failed"),
    ],
)
async def test_what_cannot_be_followed_is_refused(fleet, document, status, words):
    async with fleet.client() as ann:
        answer = await ann.post("/rollouts/apply", json=document)
        assert answer.status_code == status
        assert words in answer.json()["detail"]


async def test_operators_step_in(fleet):
    async with fleet.client() as ann:
        name = (await ann.post("/rollouts/apply", json=DOCUMENT)).json()["rollout"]
        why = {"reason": "night"}
        for _ in range(2):
            assert (await ann.post(f"/rollouts/{name}/pause", json=why)).json()["paused_at"] == fleet.clock.now()
        with fleet.database.write() as connection:
            Rollouts(connection).ask(name, ["cam-1"], at=fleet.clock.now())
        fleet.clock.advance(100)
        assert (await ann.post(f"/rollouts/{name}/resume", json=why)).json()["paused_at"] is None
        with fleet.database.read() as connection:
            assert Rollouts(connection).reports(name)["cam-1"].asked_at == fleet.clock.now()
        ended = (await ann.post(f"/rollouts/{name}/abort", json=why)).json()
        assert (ended["state"], ended["reason"]) == ("halted", "abort by ann: night")
        for word in ("pause", "resume", "abort", "rollback"):
            answer = await ann.post(f"/rollouts/{name}/{word}", json=why)
            assert answer.status_code == 409
            assert answer.json()["hint"]
        assert (await ann.post("/rollouts/nope/pause", json=why)).status_code == 404


async def test_one_that_a_newer_one_followed_is_not_rolled_back(fleet):
    async with fleet.client() as ann:
        old = (await ann.post("/rollouts/apply", json=DOCUMENT)).json()["rollout"]
        with fleet.database.write() as connection:
            held = Rollouts(connection).get(old)
            Rollouts(connection).save(
                msgspec.structs.replace(held, state=RolloutState.DONE, done_at=1.0, previous="m-0", asked=("cam-1",))
            )
        await ann.post("/rollouts/apply", json=DOCUMENT | {"release": "m-2"})
        answer = await ann.post(f"/rollouts/{old}/rollback", json={"reason": "x"})
        assert (answer.status_code, "came after" in answer.json()["detail"]) == (409, True)


async def test_two_others_must_approve_the_very_document(fleet):
    keys = {name: create(fleet.database, name, at=1.0, roles=["release-manager"]) for name in ("bob", "carol", "dave")}
    async with (
        fleet.client(keys["bob"]) as bob,
        fleet.client(keys["carol"]) as carol,
        fleet.client(keys["dave"]) as dave,
    ):
        name = (await bob.post("/rollouts/apply", json=DOCUMENT | {"approvals": 2})).json()["rollout"]
        seen = (await carol.get(f"/rollouts/{name}")).json()
        assert seen["approval"] == "waiting"
        said = {"digest": seen["content"], "reason": "fine"}
        assert (await bob.post(f"/rollouts/{name}/approve", json=said)).status_code == 409  # its author
        assert (await carol.post(f"/rollouts/{name}/approve", json=said)).json()["approval"] == "waiting"
        assert (await carol.post(f"/rollouts/{name}/approve", json={"digest": "0" * 64})).status_code == 409
        assert (await dave.post(f"/rollouts/{name}/approve", json=said)).json()["approval"] == "approved"
        await bob.post("/rollouts/apply", json=DOCUMENT | {"approvals": 2, "soak_s": 1})
        changed = (await dave.get(f"/rollouts/{name}")).json()
        assert (changed["approval"], changed["votes"]) == ("waiting", [])  # another document, new votes
        assert (await dave.post(f"/rollouts/{name}/reject", json=said)).status_code == 409


async def test_a_rollout_shows_waves_and_gates(fleet):
    spec = DOCUMENT | {
        "shadow": {"mode": "shadow", "least": 10},
        "gates": {"agreement": {"margin": 0.2}, "latency": 2.0},
    }
    async with fleet.client() as ann:
        name = (await ann.post("/rollouts/apply", json=spec)).json()["rollout"]
        report = ShadowReport(
            pipeline="p", model="m", release="m-1", champion="m-0", since=0.0, until=1.0, inputs=40, agreed=39
        )
        with fleet.database.write() as connection:
            held = Rollouts(connection).get(name)
            Rollouts(connection).save(
                msgspec.structs.replace(held, state=RolloutState.SHADOWING, wave=0, previous="m-0", shadow_at=1.0)
            )
            for _ in range(2):
                shadows = Shadows(connection)
                shadows.add("cam-1", report)
                shadows.write(at=2.0)
            shadows = Shadows(connection)
            shadows.add("stranger", report)
            shadows.write(at=2.0)
            status = UpdateStatus(model="m", release="m-1", stage=Stage.ROLLED_BACK, reason="it hung")
            Rollouts(connection).record([("cam-2", status)], at=3.0)
            seen = Shadows(connection).devices(name)
            assert seen == {"cam-1": evidence_of(report) + evidence_of(report)}
        shown = (await ann.get(f"/rollouts/{name}")).json()
        first, second = shown["progress"]
        assert (first["compared"], [gate["gate"] for gate in first["gates"]]) == (
            80, ["agreement", "failures", "latency"],
        )  # fmt: skip
        assert (second["failed"], second["gates"]) == (1, [])
        (listed,) = (await ann.get("/rollouts")).json()
        assert (listed["devices"], listed["waves"], len(listed["progress"])) == ([], [], 2)


async def test_tokens_carry_labels(fleet):
    async with fleet.client() as ann:
        wanted = {"device": "cam-9", "fleet": "lab", "labels": {"site": "ulm"}}
        assert (await ann.post("/tokens", json=wanted)).status_code == 201
        assert (await ann.post("/tokens", json=wanted | {"labels": {"Site": "x"}})).status_code == 400
