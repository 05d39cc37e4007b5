"""What lanes share, and which of the signed files a man in the middle takes for the newest."""

import json
import threading
from typing import cast

import pytest

from shared.errors import RefusedError
from simulations.scenarios.attacks.ground import CROSSED, MITM, Ground
from simulations.scenarios.attacks.issuer import Issuer
from simulations.scenarios.attacks.middle import TIMESTAMP, newest, wanted_in
from simulations.world.world import World


def in_lanes(*acts):
    """Run each in a thread of its own, one after the other; return what each raised."""
    raised = []

    def run(act):
        try:
            act()
        except RefusedError as error:
            raised.append(str(error))
        else:
            raised.append("")

    lanes = [threading.Thread(target=run, args=(act,), name=f"lane {number}") for number, act in enumerate(acts)]
    for lane in lanes:
        lane.start()
        lane.join()
    return raised


def bare_ground() -> Ground:
    return Ground(cast(World, None), cast(Issuer, None))


def test_a_line_of_a_fleet_is_one_lanes_alone():
    """Of two lanes that ship to one fleet, one waits for a rollout that the other has superseded."""
    ground = bare_ground()
    ground.claim(MITM, "toy")  # before there are lanes
    again = in_lanes(
        lambda: [ground.claim(MITM, "toy"), ground.claim(MITM, "toy")],
        lambda: ground.claim(MITM, "other"),
        lambda: ground.claim(CROSSED, "toy"),
        lambda: ground.claim(MITM, "toy"),
    )
    assert again == ["", "", "", "toy of the fleet mitm is shipped by lane 0"]
    ground.claim(MITM, "toy")  # when they are over


def test_a_rollout_in_anothers_fleet_is_refused_before_the_coordinator_hears_of_it():
    ground = bare_ground()
    first, second = in_lanes(
        lambda: ground.claim(MITM, "pit-tar"), lambda: ground.roll_out("pit-tar-7", fleet=MITM, first=["pit-1"])
    )
    assert (first, second) == ("", "pit-tar of the fleet mitm is shipped by lane 0")


def signed(**fields) -> bytes:
    return json.dumps({"signed": fields}).encode()


def leading(snapshot: int, fleet: int) -> dict[str, bytes]:
    meta = {"snapshot.json": {"version": snapshot}}
    return {
        "metadata/1.root.json": signed(version=1),
        "metadata/2.root.json": signed(version=2),
        TIMESTAMP: signed(version=snapshot + 100, meta=meta),
        f"metadata/{snapshot}.snapshot.json": signed(meta={"fleet-mitm.json": {"version": fleet}}),
        f"metadata/{fleet}.fleet-mitm.json": signed(version=fleet, targets={}),
    }


@pytest.mark.parametrize(
    ("role", "version"), [("root", 2), ("timestamp", 107), ("snapshot", 7), ("fleet-mitm", 3)], ids=str
)
def test_the_newest_file_of_a_role_is_where_the_timestamp_leads(role, version):
    """The coordinator publishes the timestamp last: what it does not lead to yet is no device's business."""
    coming = {"metadata/8.snapshot.json": signed(meta={}), "metadata/4.fleet-mitm.json": signed(version=4)}
    files = leading(7, 3) | coming
    name = TIMESTAMP if role == "timestamp" else f"metadata/{version}.{role}.json"
    assert newest(files, role) == (version, files[name])


def test_nothing_is_wanted_where_the_timestamp_leads_nowhere():
    assert wanted_in(leading(7, 3), MITM, "way-1") == {}
    assert wanted_in({TIMESTAMP: leading(7, 3)[TIMESTAMP]}, MITM, "way-1") == {}
