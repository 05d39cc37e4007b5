import pytest

from cloud.distribution.schedule import Key, Lane, Schedule
from shared.bundle import CHUNK_SIZE
from shared.ids import Digest

ONE, TWO = Key(Digest("d"), 1), Key(Digest("d"), 2)
OTHER = Key(Digest("e"), 1)


def schedule(**lanes):
    plan = Schedule(gather_s=0.5, quiet_s=2, most=10, transit_s=10)
    plan.arrange(lanes)
    return plan


def keys(fleet, count=100):
    return [Key(Digest(fleet), index) for index in range(count)]


def taken(plan, at):
    found = plan.take(at=at)
    return found and found.key


def test_the_first_request_for_a_blob_waits_for_company():
    plan = schedule()
    plan.ask([ONE], at=0)
    plan.ask([ONE, TWO], at=0.4)
    assert taken(plan, 0.4) is None
    assert [taken(plan, 0.5) for _ in range(3)] == [ONE, TWO, None]


def test_who_stays_alone_waits_less_and_each_who_joins_lets_all_wait_on_but_never_for_ever():
    plan = Schedule(gather_s=0.5, calm_s=0.125, quiet_s=2, most=10)
    plan.ask([ONE], at=0, device="a")
    assert (taken(plan, 0.1), plan.wait_s(at=0.1)) == (None, pytest.approx(0.025))
    for step in range(1, 5):
        plan.ask([ONE, TWO], at=step / 10, device=f"b{step}")
        assert taken(plan, 0.09 + step / 10) is None
    assert plan.wait_s(at=0.45) == pytest.approx(0.05)
    assert [taken(plan, 0.5) for _ in range(3)] == [ONE, TWO, None]


def test_a_blob_that_flows_goes_on_at_once():
    plan = schedule()
    plan.ask([ONE], at=0)
    assert taken(plan, 0.5) == ONE
    plan.ask([TWO, OTHER], at=0.6)
    assert [taken(plan, 0.6), taken(plan, 1.0), taken(plan, 1.1)] == [TWO, None, OTHER]


def test_what_is_on_its_way_is_sent_again_to_those_only_who_ask_again():
    plan = schedule()
    plan.ask([ONE], at=0, device="fast")
    assert taken(plan, 0.5) == ONE
    plan.ask([ONE], at=0.7, device="slow")
    assert plan.wait_s(at=0.7) is None
    plan.ask([ONE], at=1.7, device="slow")
    assert plan.wait_s(at=1.7) == pytest.approx(0.8)


def test_after_its_time_on_the_way_a_chunk_is_sent_to_whoever_asks():
    plan = schedule()
    plan.ask([ONE], at=0, device="fast")
    assert taken(plan, 0.5) == ONE
    plan.ask([ONE], at=10.5, device="late")
    assert taken(plan, 11) == ONE


def test_stragglers_share_the_second_copy():
    plan = schedule()
    plan.ask([ONE], at=0)
    assert taken(plan, 0.5) == ONE
    for at in (0.6, 1.0, 1.4):
        plan.ask([ONE], at=at)
    assert plan.wait_s(at=1.5) == 1.0
    assert [taken(plan, 2.4), taken(plan, 2.5), taken(plan, 9)] == [None, ONE, None]


def test_long_after_a_copy_a_request_is_served_as_the_first():
    plan = schedule()
    plan.ask([ONE], at=0)
    plan.take(at=0.5)
    plan.ask([ONE], at=10)
    assert (taken(plan, 10.4), taken(plan, 10.5)) == (None, ONE)


def test_nothing_asked_nothing_due():
    assert schedule().wait_s(at=0) is None


def test_forms_of_one_chunk_are_different_things():
    plan = schedule()
    packed = Key(ONE.digest, ONE.index, "z")
    plan.ask([ONE, packed], at=0)
    assert [taken(plan, 1), taken(plan, 1)] == [ONE, packed]


def test_one_copy_serves_two_fleets():
    plan = schedule()
    for fleet in ("north", "south"):
        plan.ask([ONE], at=0, fleet=fleet)
    assert (taken(plan, 1), taken(plan, 9), len(plan)) == (ONE, None, 0)


def test_a_fleet_that_is_shut_waits_and_holds_nobody_up():
    plan = schedule(north=Lane(open=False))
    plan.ask([ONE], at=0, fleet="north")
    plan.ask([TWO], at=0, fleet="south")
    assert [taken(plan, 1), taken(plan, 1), plan.wait_s(at=1)] == [TWO, None, None]
    plan.arrange({})
    assert taken(plan, 1) == ONE


def test_weights_share_out_what_is_sent():
    plan = Schedule(gather_s=0, quiet_s=2, most=1000)
    plan.arrange({"north": Lane(weight=3)})
    for fleet in ("north", "south"):
        plan.ask(keys(fleet), at=0, fleet=fleet)
    assert [plan.take(at=0).lane for _ in range(40)].count("north") == 30


def test_who_was_away_saved_nothing_up():
    plan = Schedule(gather_s=0, quiet_s=2, most=1000)
    plan.ask(keys("north"), at=0, fleet="north")
    assert all(plan.take(at=0).lane == "north" for _ in range(60))
    plan.ask(keys("south"), at=0, fleet="south")
    assert [plan.take(at=0).lane for _ in range(20)].count("south") == 10


@pytest.mark.parametrize(("size", "wait"), [(CHUNK_SIZE, 2.0), (CHUNK_SIZE // 4, 0.5), (0, 0.0)])
def test_a_rate_says_when_the_next_may_leave(size, wait):
    plan = schedule(north=Lane(rate=CHUNK_SIZE / 2))
    plan.ask([ONE, TWO], at=0, fleet="north")
    assert plan.take(at=1).key == ONE
    plan.settle("north", size, at=1)
    assert plan.wait_s(at=1) == wait


def test_what_comes_to_less_gives_nothing_back_once_its_time_is_over():
    plan = schedule(north=Lane(rate=CHUNK_SIZE / 2))
    plan.ask([ONE, TWO, OTHER], at=0, fleet="north")
    plan.take(at=1)
    plan.take(at=3)
    plan.settle("north", 0, at=3)  # of one of the two
    plan.settle("north", 0, at=3)
    assert plan.wait_s(at=3) == 0
