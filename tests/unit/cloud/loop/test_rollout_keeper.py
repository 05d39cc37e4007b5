"""Rollouts between database and signed state: in waves, behind gates, killed at every transaction."""

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import pytest

from cloud.audit.log import AuditLog
from cloud.loop.masks import order_masks
from cloud.loop.orders import order, order_release
from cloud.loop.rollouts import difference
from cloud.rollout.desired import signable
from cloud.rollout.spec import Budget, Gates, Margin, Mode, Shadow, Spec, Target, WaveSize
from cloud.rollout.state import RolloutState
from cloud.store.database import Database
from cloud.store.devices import Devices
from cloud.store.events import Events
from cloud.store.releases import Releases
from cloud.store.rollouts import Rollouts
from cloud.store.shadows import Shadows
from shared.audit import verify
from shared.bundle import Challenge, FleetDesired, Release, Runtime, Schema, Variant, split
from shared.errors import ContractError, RefusedError
from shared.ids import sha256
from shared.masks import FleetMasks, Mask
from shared.messages import ShadowReport
from shared.topics import Up

SCHEMA = Schema(kind="classification", labels=["a", "b"], input_shape=[6, 100])
SPEC = Spec(
    release="m-2",
    fleet="wards",
    canaries=("watch-2",),
    soak_s=5,
    deadline_s=100,
    budget=Budget(devices=1),
    shadow=Shadow(mode=Mode.SHADOW, least=100),
    gates=Gates(agreement=Margin(margin=0.1)),
)
NAME = "m-2-wards"


def publish(stations, counter):
    """A release that is signed already."""
    data = f"bytes {counter}".encode()
    variant = Variant(
        name="cpu", runtime=Runtime.ONNXRUNTIME, precision="fp32", hardware=["cpu"],
        digest=sha256(data), size=len(data), chunks=split(data),
    )  # fmt: skip
    release = Release(
        id=f"m-{counter}", model="m", counter=counter, schema=SCHEMA, variants=[variant], created=stations.clock.now()
    )
    with stations.database.write() as connection:
        order_release(connection, release, at=release.created, by="test")
    sign_release(stations, release.id)


def sign_release(stations, name):
    """What the publication gate does once it is satisfied."""
    stations.repository.publish_release(stations.read(lambda connection: Releases(connection).get(name).document()))
    with stations.database.write() as connection:
        Releases(connection).published(name, signers=["k"], at=stations.clock.now())


def begin(stations, spec=SPEC):
    with stations.database.write() as connection:
        return order(connection, spec, at=stations.clock.now(), by="test")


def turn(stations):
    stations.rollouts.turn()
    stations.rollouts.sign()


def compare(stations, *devices, agreed=490, release="m-2"):
    for device in devices:
        report = ShadowReport(
            pipeline="p", model="m", release=release, champion="m-1", since=0.0, until=1.0, inputs=500, agreed=agreed
        )
        stations.say(device, Up.SHADOW, report)


def activate(stations, *devices, release="m-2"):
    stations.activate(*devices, release=release)


def soak(stations):
    stations.clock.advance(6)


@pytest.fixture
def ward(stations):
    """Three devices of one place that run m-1, and m-2 to come."""
    with stations.database.write() as connection:
        for device in Devices(connection).all():
            Devices(connection).put(msgspec.structs.replace(device, labels={"site": "hall"}))
    publish(stations, 1)
    begin(stations, Spec(release="m-1", fleet="wards", waves=(WaveSize(percent=100),), soak_s=5))
    for act in (turn, lambda s: activate(s, "watch-1", "watch-2", "watch-3", release="m-1"), turn, soak, turn):
        act(stations)
    assert stations.repository.desired("wards").default == {"m": "m-1"}
    publish(stations, 2)
    return stations


def rollout(stations, name=NAME):
    return stations.read(lambda connection: Rollouts(connection).get(name))


def told(stations):
    """What the timeline says of the rollout: kind and devices or wave."""
    events = stations.read(lambda connection: Events(connection).after(0))
    mine = [event for event in events if event.subject == NAME]
    return [(event.kind.removeprefix("rollout."), event.data.get("wave"), event.data.get("devices")) for event in mine]


GOOD_STORY = [
    turn,
    lambda s: compare(s, "watch-2"),
    turn,
    lambda s: activate(s, "watch-2"),
    turn, soak, turn,
    lambda s: compare(s, "watch-1", "watch-3"),
    turn,
    lambda s: activate(s, "watch-1"),
    turn,
    lambda s: activate(s, "watch-3"),
    turn, soak, turn,
]  # fmt: skip
GOOD_TIMELINE = [
    ("created", None, None),
    ("shadow", 0, ["watch-2"]),
    ("open", 0, None),
    ("wave", 0, ["watch-2"]),
    ("soak", 0, None),
    ("shadow", 1, ["watch-1", "watch-3"]),
    ("open", 1, None),
    ("wave", 1, ["watch-1"]),
    ("wave", 1, ["watch-3"]),
    ("soak", 1, None),
    ("done", None, None),
]
BAD_STORY = [*GOOD_STORY[:7], lambda s: compare(s, "watch-1", "watch-3", agreed=100), turn, turn]
BAD_TIMELINE = [*GOOD_TIMELINE[:6], ("halted", None, None)]
STORIES = {"good": (GOOD_STORY, GOOD_TIMELINE), "bad": (BAD_STORY, BAD_TIMELINE)}


def test_a_good_release_reaches_all_wave_by_wave(ward):
    begin(ward)
    turn(ward)
    wanted = ward.repository.desired("wards")
    assert wanted.challengers == {"watch-2": {"m": Challenge(release="m-2", rollout=NAME)}}
    assert wanted.for_device("watch-2") == {"m": "m-1"}
    for act in GOOD_STORY[1:3]:
        act(ward)
    wanted = ward.repository.desired("wards")
    assert (wanted.for_device("watch-2"), wanted.challengers) == ({"m": "m-2"}, {})
    for act in GOOD_STORY[3:]:
        act(ward)
    assert told(ward) == GOOD_TIMELINE
    assert ward.repository.desired("wards") == FleetDesired(fleet="wards", default={"m": "m-2"})
    assert {wave: proofs[0].inputs for wave, proofs in rollout(ward).proofs.items()} == {"0": 500, "1": 1000}


def test_a_worse_one_is_halted_by_the_gate_and_taken_back(ward):
    begin(ward)
    for act in BAD_STORY:
        act(ward)
    assert told(ward) == BAD_TIMELINE
    halted = rollout(ward)
    assert halted.reason.startswith("m-2 is worse: agreement: measured -0.8 against -0.1 over 1000 inputs")
    assert halted.fallback == "m-3"
    assert halted.asked == ("watch-2",)
    wanted = ward.repository.desired("wards")
    assert wanted.challengers == {}  # who had it in the shadow only loses it
    assert wanted.devices == {"watch-2": {"m": "m-2"}}  # m-3 is not signed yet
    sign_release(ward, "m-3")
    turn(ward)
    assert ward.repository.desired("wards").devices == {"watch-2": {"m": "m-3"}}


def test_a_device_that_comes_late_waits_for_the_last_wave(ward):
    begin(ward)
    turn(ward)
    with ward.database.write() as connection:
        late = msgspec.structs.replace(Devices(connection).get("watch-1"), id="watch-0", public_key=b"0", node="99")
        Devices(connection).put(late)
    turn(ward)
    assert [wave.devices for wave in rollout(ward).waves] == [("watch-2",), ("watch-1", "watch-3", "watch-0")]
    assert ward.repository.desired("wards").for_device("watch-0") == {"m": "m-1"}
    stages = ward.read(lambda connection: {row.device: row.wave for row in Rollouts(connection).devices(NAME)})
    assert stages == {"watch-2": 0, "watch-0": 1, "watch-1": 1, "watch-3": 1}


def test_a_device_that_leaves_holds_nobody_up(ward):
    begin(ward)
    for act in GOOD_STORY[:7]:
        act(ward)
    with ward.database.write() as connection:
        for name in ("watch-1", "watch-3"):
            Devices(connection).revoke(name, at=ward.clock.now())
    turn(ward)
    soak(ward)
    turn(ward)
    assert rollout(ward).state is RolloutState.DONE


def test_labels_choose_who_is_meant(ward):
    with ward.database.write() as connection:
        held = Devices(connection).get("watch-3")
        Devices(connection).put(msgspec.structs.replace(held, labels={"site": "yard"}))
    meant = Spec(release="m-2", fleet="wards", target=Target(labels={"site": "yard"}), soak_s=5)
    begin(ward, meant)
    turn(ward)
    assert ward.repository.desired("wards").devices == {"watch-3": {"m": "m-2"}}
    activate(ward, "watch-3")
    for act in (turn, soak, turn):
        act(ward)
    assert rollout(ward).state is RolloutState.DONE
    wanted = ward.repository.desired("wards")
    assert (wanted.default, wanted.devices) == ({"m": "m-1"}, {"watch-3": {"m": "m-2"}})


def test_a_newer_release_takes_over_and_challengers_of_the_older_one_end(ward):
    begin(ward)
    for act in GOOD_STORY[:7]:
        act(ward)
    assert set(ward.repository.desired("wards").challengers) == {"watch-1", "watch-3"}
    publish(ward, 3)
    begin(ward, msgspec.structs.replace(SPEC, release="m-3"))
    turn(ward)
    assert rollout(ward).state is RolloutState.SUPERSEDED
    wanted = ward.repository.desired("wards")
    assert wanted.devices == {"watch-2": {"m": "m-2"}}  # keeps what it has until its turn comes
    assert wanted.challengers == {"watch-2": {"m": Challenge(release="m-3", rollout="m-3-wards")}}


def test_what_shadows_saw_counts_for_the_wave_that_is_under_way(ward):
    begin(ward)
    turn(ward)
    compare(ward, "watch-2", "watch-1")  # nobody has asked watch-1
    compare(ward, "watch-2", agreed=400)
    compare(ward, "watch-2", release="m-1")
    waves = ward.read(lambda connection: [Shadows(connection).wave(NAME, wave) for wave in (0, 1)])
    assert [(wave.inputs, wave.agreed) for wave in waves] == [(1000, 890), (0, 0)]
    devices = ward.read(lambda connection: Shadows(connection).devices(NAME))
    assert {name: seen.inputs for name, seen in devices.items()} == {"watch-2": 1000}


def test_a_turn_that_finds_nothing_takes_no_lock(ward):
    begin(ward)
    turn(ward)
    with ward.database.write():  # a second writer would wait and then fail
        ward.rollouts.turn()
        ward.rollouts.sign()


def test_the_audit_log_holds_what_changed_for_whom(ward):
    before = FleetDesired(fleet="f", default={"m": "m-1"}, devices={f"d{n}": {"m": "m-2"} for n in range(100)})
    after = msgspec.structs.replace(before, devices=before.devices | {"d5": {"m": "m-3"}})
    assert difference(before, after) == (
        {"default": {}, "devices": {"d5": {"m": "m-2"}}, "challengers": {}, "masks": {}},
        {"default": {}, "devices": {"d5": {"m": "m-3"}}, "challengers": {}, "masks": {}},
    )
    assert ward.read(lambda connection: AuditLog(connection).newest("fleet.sign").after["default"]) == {"m": "m-1"}


def test_what_waits_for_its_signature_keeps_back_nothing_else():
    held = FleetDesired(fleet="f", default={"m": "m-1"}, devices={"a": {"m": "m-2"}})
    wanted = FleetDesired(
        fleet="f",
        default={"m": "m-1", "n": "n-1", "o": "o-9"},
        devices={"a": {"m": "m-3", "n": "n-2"}, "b": {"m": "m-3"}, "c": {"m": ""}},
    )
    signed = signable(wanted, held=held, published={"m-1", "m-2", "n-1", "n-2"})
    assert signed.default == {"m": "m-1", "n": "n-1"}
    assert signed.devices == {"a": {"m": "m-2", "n": "n-2"}, "c": {"m": ""}}
    assert signable(wanted, held=held, published={"m-1", "m-3", "n-1", "n-2", "o-9"}) == wanted


def check_end(ward, story):
    """The timeline is that of an undisturbed story, the signed state follows from it, and the audit log is whole."""
    assert told(ward) == STORIES[story][1]
    if story == "bad":
        sign_release(ward, "m-3")
    turn(ward)
    wanted = ward.repository.desired("wards")
    if story == "good":
        assert (wanted.default, wanted.devices) == ({"m": "m-2"}, {})
    else:
        assert (wanted.default, wanted.devices) == ({"m": "m-1"}, {"watch-2": {"m": "m-3"}})
    assert len(ward.read(lambda connection: Releases(connection).all(model="m"))) == (2 if story == "good" else 3)
    assert wanted.challengers == {}
    assert ward.read(lambda connection: verify(AuditLog(connection).rows())) is None


@dataclass(frozen=True)
class Doomed(Database):
    """Ends its process at the first transaction, as kill -9 and power cuts do: nothing is cleaned up."""

    before: bool

    @contextmanager
    def write(self):
        with super().write() as connection:
            yield connection
            if self.before:
                os._exit(9)
        os._exit(9)


def dies(ward, *, before):
    """Take one turn in a process of its own; whether it came to a transaction and died there."""
    ward.database.close()  # no connection crosses the fork
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            database = Doomed(ward.database.engine, before=before)
            turn(replace(ward, rollouts=replace(ward.rollouts, database=database)))
            os._exit(0)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("story", STORIES)
def test_a_coordinator_that_never_survives_a_transaction_still_ends_the_same(ward, story):
    begin(ward)
    deaths = 0
    for act in STORIES[story][0]:
        if act is not turn:
            act(ward)
            continue
        while dies(ward, before=True):  # nothing is kept, so it is as if there had been no turn
            deaths += 1 + dies(ward, before=False)
    assert deaths >= 2 * len(STORIES[story][1])
    check_end(ward, story)


def test_what_operators_hide_is_signed_with_what_the_fleet_runs_and_audited(ward):
    masks = FleetMasks(devices={"*": {"gate": [Mask(box=(0, 0, 0.5, 1))]}, "watch-1": {"*": []}})
    for _ in range(2):
        with ward.database.write() as connection:
            order_masks(connection, "wards", masks, fleets=["wards"], at=ward.clock.now(), by="ann", reason="windows")
        turn(ward)
    wanted = ward.repository.desired("wards")
    assert (wanted.masks, wanted.default) == (masks.signed, {"m": "m-1"})
    log = ward.read(lambda connection: AuditLog(connection).rows())
    said = [row for row in log if row.action == "fleet.masks"]
    assert [(row.actor, row.subject, row.reason) for row in said] == [("ann", "wards", "windows")]
    assert [row.after["masks"] for row in log if row.action == "fleet.sign" and row.after["masks"]] == [wanted.masks]


@pytest.mark.parametrize(
    ("devices", "error"),
    [
        ({"a/b": {}}, ContractError),
        ({"*": {"gate": [Mask(box=(0, 0, 1, 1))] * 40}, "cam": {"*": [Mask(box=(0, 0, 1, 1))] * 40}}, None),
        ({"*": {"gate": [Mask(box=(0, 0, 1, 1))] * 40}, "cam": {"gate": [Mask(box=(0, 0, 1, 1))] * 40}}, RefusedError),
        (
            {f"d{n}": {"gate": [Mask(polygon=[(x / 256, 0.5) for x in range(256)])] * 2} for n in range(60)},
            RefusedError,
        ),
    ],
)
def test_masks_that_devices_could_not_take_are_refused(ward, devices, error):
    with ward.database.rehearse() as connection:
        order = partial(order_masks, connection, "wards", FleetMasks(devices=devices), fleets=["wards"], at=1.0, by="x")
        if error is None:
            order()
            return
        with pytest.raises(error):
            order()
