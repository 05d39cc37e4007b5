from cloud.distribution.schedule import Key, Schedule
from shared.ids import Digest

ONE, TWO = Key(Digest("d"), 1), Key(Digest("d"), 2)


def schedule():
    return Schedule(gather_s=0.5, quiet_s=2, most=10)


def test_the_first_request_waits_for_company():
    plan = schedule()
    plan.ask([ONE], at=0)
    plan.ask([ONE, TWO], at=0.4)
    assert plan.take(at=0.4) is None
    assert (plan.take(at=0.5), plan.take(at=0.5)) == (ONE, None)
    assert plan.take(at=0.9) == TWO


def test_stragglers_share_the_second_copy():
    plan = schedule()
    plan.ask([ONE], at=0)
    assert plan.take(at=0.5) == ONE
    for at in (0.6, 1.0, 1.4):
        plan.ask([ONE], at=at)
    assert plan.wait_s(at=1.5) == 1.0
    assert (plan.take(at=2.4), plan.take(at=2.5), plan.take(at=9)) == (None, ONE, None)


def test_long_after_a_copy_a_request_is_served_as_the_first():
    plan = schedule()
    plan.ask([ONE], at=0)
    plan.take(at=0.5)
    plan.ask([ONE], at=10)
    assert plan.take(at=10.5) == ONE


def test_nothing_asked_nothing_due():
    assert schedule().wait_s(at=0) is None
