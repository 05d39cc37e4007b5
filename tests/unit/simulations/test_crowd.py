"""What virtual devices say, and what is read from a run of them."""

from random import Random

import pytest

from cloud.ingest.contract import arrival
from cloud.rollout.document import spec_from
from cloud.rollout.evidence import evidence_of
from shared.api import Event
from shared.bundle import Challenge, FleetDesired
from shared.codec import pack
from shared.messages import Batch, Record, Stage
from shared.topics import Up
from simulations.scenarios.crowd import plan
from simulations.scenarios.crowd.behaviour import MODEL, Wish, course, telemetry, wishes
from simulations.scenarios.crowd.crowd import Answered
from simulations.scenarios.crowd.record import Breach
from simulations.scenarios.crowd.verdict import arrivals_of, breach_of, checks_of, latency_of

BESIDE = Wish(serves="gauge-1", challenge=Challenge(release="gauge-2"))


def said(before, wish, *, serving="gauge-1", fails=False):
    return list(course(before, wish, serving=serving, fails=fails, random=Random(5), at=1.0))


def stages(sayings):
    return [body.stage for saying in sayings if saying.channel is Up.UPDATE for body in saying.bodies]


FETCHED = [Stage.OFFERED, Stage.DOWNLOADING, Stage.VERIFIED, Stage.STAGED]


@pytest.mark.parametrize(
    ("before", "wish", "fails", "expected"),
    [
        (Wish(), Wish(serves="gauge-2"), False, [*FETCHED, Stage.TRIAL, Stage.ACTIVE]),
        (Wish(), Wish(serves="gauge-2"), True, [*FETCHED, Stage.TRIAL, Stage.ROLLED_BACK]),
        (Wish(serves="gauge-1"), BESIDE, False, [*FETCHED, Stage.SHADOW]),
        (BESIDE, Wish(serves="gauge-2"), False, [Stage.TRIAL, Stage.ACTIVE]),
        (BESIDE, Wish(serves="gauge-2"), True, [Stage.TRIAL, Stage.ROLLED_BACK]),
        (BESIDE, Wish(serves="gauge-1"), False, [Stage.WITHDRAWN]),
        (Wish(serves="gauge-1"), Wish(serves="gauge-1"), False, []),
        (Wish(), Wish(serves="gauge-1"), False, []),
    ],
)
def test_a_device_takes_the_steps_of_an_agent(before, wish, fails, expected):
    assert stages(said(before, wish, fails=fails)) == expected


def test_what_devices_say_is_what_the_coordinator_takes():
    for saying in [*said(Wish(serves="gauge-1"), BESIDE), *said(Wish(), Wish(serves="gauge-2"))]:
        records = [Record(seq=1 + index, at=1.0, body=pack(body)) for index, body in enumerate(saying.bodies)]
        batch = pack(Batch(boot=f"{7:016x}", channel=saying.channel, records=records))
        assert arrival(f"hl/1/d/meter-1/up/{saying.channel}", batch).batch.records == records
    (report,) = [saying.bodies[0] for saying in said(Wish(serves="gauge-1"), BESIDE) if saying.channel is Up.SHADOW]
    assert evidence_of(report).labelled == report.inputs
    assert telemetry("gauge-1", random=Random(1), at=2.0).errors == 0


def test_the_same_seed_says_the_same_after_the_same_time():
    assert said(Wish(), Wish(serves="gauge-2")) == said(Wish(), Wish(serves="gauge-2"))


def test_wishes_are_those_of_the_signed_state():
    document = FleetDesired(
        fleet="f",
        default={MODEL: "gauge-1"},
        devices={"a": {MODEL: "gauge-2"}},
        challengers={"b": {MODEL: Challenge(release="gauge-2")}},
    )
    assert wishes(document) == {"a": Wish(serves="gauge-2"), "b": BESIDE}


def test_sites_are_of_equal_size_and_documents_can_be_followed():
    sites = list(plan.sites_of(10_000).values())
    assert {sites.count(site) for site in set(sites)} == {plan.PLACES}
    for compared in (False, True):
        spec = spec_from(plan.document("gauge-1", compared=compared))
        assert (spec.gates.accuracy is not None) == compared
    waves = [["a"], ["b"], [f"c-{n}" for n in range(100)], ["d"]]
    broken = plan.failing(waves, seed=1)
    assert len(broken) == 20
    assert broken <= set(waves[plan.THIRD])


def answers(*seconds, channel=Up.UPDATE, at=0.0):
    return [Answered(at=at + index / 10, seconds=each, channel=channel) for index, each in enumerate(seconds)]


def test_latency_is_that_of_status_updates():
    found = latency_of([*answers(*[0.01] * 98, 0.5, 0.9), *answers(9.0, channel=Up.TELEMETRY)])
    assert (found.batches, found.p50_ms, found.p99_ms, found.most_ms) == (100, 10.0, 900.0, 900.0)
    assert latency_of([]).batches == 0


def test_arrivals_are_counted_on_the_whole_and_at_worst():
    calm, busy = answers(*[0.1] * 100), answers(*[0.1] * 100, at=50.0) + answers(*[0.1] * 100, at=50.0)
    found = arrivals_of([*calm, *busy])
    assert found.busiest == 20.0
    assert found.mean == 300 / 60
    assert arrivals_of([]).busiest == 0.0


def breach_in(*rows):
    told = [
        Event(id=number, at=float(number), kind=kind, subject=subject, text="", data=data)
        for number, (kind, subject, data) in enumerate(rows, 1)
    ]
    waves = [["a"], ["b"], [f"c-{n}" for n in range(40)], ["d"]]
    return breach_of(told, rollout="r", release="m-2", waves=waves, failing=8)


def asked(count, wave=plan.THIRD):
    return ("rollout.wave", "r", {"wave": wave, "devices": [f"c-{n}" for n in range(count)]})


BROKE = ("update.rolled-back", "c", {"release": "m-2"})
HALT = ("rollout.halted", "r", {})


def test_the_breach_is_the_first_failure_that_is_one_too_many():
    found = breach_in(asked(1, 0), asked(10), BROKE, BROKE, asked(5), BROKE, HALT, BROKE)
    assert (found.asked_before, found.asked_after, found.later, found.tolerated) == (15, 0, 0, 2)
    assert (found.halted_after_s, found.failed) == (1.0, 4)


def test_who_is_asked_after_the_breach_is_seen():
    found = breach_in(asked(10), BROKE, BROKE, BROKE, asked(5), asked(3, plan.THIRD + 1), HALT)
    assert (found.asked_before, found.asked_after, found.later) == (10, 5, 3)
    assert breach_in(asked(10), BROKE, HALT).halted_after_s == -1.0


HELD = {
    "devices": 400,
    "states": ["done", "halted"],
    "reached": 400,
    "breach": breach_in(asked(10), BROKE, BROKE, BROKE, HALT),
    "latency": latency_of(answers(*[0.01] * 100)),
    "serving": {"m-1": 390, "m-3": 10},
    "promoted": ["m-1", "m-3"],
    "unanswered": 0,
}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"states": ["halted", "halted"]}, 1),
        ({"reached": 399}, 1),
        ({"states": ["done", "done"]}, 1),
        ({"breach": breach_in(asked(10), BROKE, BROKE, BROKE, asked(1), HALT)}, 1),
        ({"breach": breach_in(asked(10), BROKE, HALT)}, 1),
        ({"latency": latency_of(answers(*[0.3] * 100))}, 1),
        ({"latency": latency_of([])}, 1),
        ({"serving": {"m-1": 390, "m-2": 10}}, 1),
        ({"unanswered": 1}, 1),
    ],
)
def test_what_must_hold(changes, count):
    assert isinstance(HELD["breach"], Breach)
    assert sum(not check.held for check in checks_of(**HELD | changes)) == count
