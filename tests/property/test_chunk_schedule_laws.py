from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.distribution.schedule import Key, Lane, Schedule
from shared.bundle import CHUNK_SIZE
from shared.ids import Digest

QUIET, TRANSIT = 2.0, 5.0
FLEETS = ("north", "south", "east")
eighths = st.integers(0, 16).map(lambda number: number / 8)  # sums of them are exact
forms = st.sampled_from(["", "z", "d-0123456789abcdef"])
DEVICES = st.sampled_from(["fast", "slow"])
wants = st.tuples(eighths, st.sampled_from(FLEETS), DEVICES, forms, st.sets(st.integers(0, 5)))
lanes = st.builds(
    Lane,
    weight=st.integers(1, 4),
    rate=st.sampled_from([None, CHUNK_SIZE / 4, CHUNK_SIZE * 2]),
    open=st.booleans(),
)
arrangements = st.dictionaries(st.sampled_from(FLEETS), lanes)


class Run:
    """A schedule as a server drives it, and what is to hold of it at every step."""

    def __init__(self, rules):
        self.schedule = Schedule(gather_s=0.25, calm_s=0.125, quiet_s=QUIET, most=100, transit_s=TRANSIT)
        self.schedule.arrange(rules)
        self.rules = rules
        self.now = 0.0
        self.sent = {}
        self.owed, self.asked = set(), {}
        self.log = []

    def lane(self, fleet):
        return self.rules.get(fleet, Lane())

    def ask(self, fleet, device, keys):
        device = f"{device} of {fleet}"
        assert self.schedule.ask(keys, at=self.now, fleet=fleet, device=device) == 0
        for key in keys:  # owed: what did not leave lately, and what somebody misses who has asked since
            if (
                self.now - self.sent.get(key, -TRANSIT) >= TRANSIT
                or self.asked.get((device, key), -1) >= self.sent[key]
            ):
                self.owed.add((fleet, key))
            self.asked[device, key] = self.now

    def drain(self, sizes):
        while (taken := self.schedule.take(at=self.now)) is not None:
            assert self.lane(taken.lane).open
            assert self.now - self.sent.get(taken.key, -QUIET) >= QUIET
            self.sent[taken.key] = self.now
            self.owed -= {(fleet, taken.key) for fleet in FLEETS}
            size = sizes(taken.key)
            self.log.append((self.now, taken.lane, size))
            self.schedule.settle(taken.lane, size, at=self.now)

    def finish(self, sizes):
        while (wait := self.schedule.wait_s(at=self.now)) is not None:
            self.now += wait
            self.drain(sizes)


def size_of(key):
    return CHUNK_SIZE // (1 + key.index % 3)


@given(st.lists(wants, max_size=30), arrangements)
def test_each_chunk_at_most_once_in_the_quiet_time_and_every_open_fleet_is_served(steps, rules):
    run = Run(rules)
    for pause, fleet, device, form, indices in steps:
        run.now += pause
        run.ask(fleet, device, {Key(Digest("d"), index, form) for index in indices})
        run.drain(size_of)
    run.finish(size_of)
    assert not {fleet for fleet, _ in run.owed if run.lane(fleet).open}
    run.rules = {}
    run.schedule.arrange({})
    run.finish(size_of)  # windows open at last
    assert not run.owed
    assert len(run.schedule) == 0


@given(st.lists(wants, max_size=30), st.sampled_from([CHUNK_SIZE / 4, CHUNK_SIZE, CHUNK_SIZE * 3]))
def test_no_stretch_of_time_exceeds_a_rate_by_more_than_a_chunk(steps, rate):
    run = Run({"north": Lane(rate=rate)})
    for pause, fleet, device, form, indices in steps:
        run.now += pause
        run.ask(fleet, device, {Key(Digest(fleet), index, form) for index in indices})
        run.drain(size_of)
    run.finish(size_of)
    north = [(at, size) for at, fleet, size in run.log if fleet == "north"]
    for first, (since, _) in enumerate(north):
        total = 0
        for at, size in north[first:]:
            total += size
            assert total <= rate * (at - since) + CHUNK_SIZE + 1e-6 * CHUNK_SIZE


@given(st.dictionaries(st.sampled_from(FLEETS), st.integers(1, 9), min_size=2))
def test_between_two_turns_of_a_fleet_others_get_no_more_than_their_weight(weights):
    schedule = Schedule(gather_s=0, quiet_s=QUIET, most=10_000)
    schedule.arrange({fleet: Lane(weight=weight) for fleet, weight in weights.items()})
    for fleet in weights:
        schedule.ask([Key(Digest(fleet), index) for index in range(300)], at=0, fleet=fleet)
    turns = [schedule.take(at=0).lane for _ in range(200)]
    for fleet, weight in weights.items():
        mine = [number for number, lane in enumerate(turns) if lane == fleet]
        assert mine, f"{fleet} waits for ever"
        most = sum(-(-other // weight) + 1 for name, other in weights.items() if name != fleet)
        assert all(later - earlier - 1 <= most for earlier, later in pairwise(mine))


@given(st.integers(1, 20), st.sets(st.integers(0, 50)))
def test_requests_never_hold_more_than_there_is_room_for(most, indices):
    schedule = Schedule(gather_s=0, quiet_s=0, most=most)
    turned_away = schedule.ask([Key(Digest("d"), index) for index in indices], at=0)
    assert len(schedule) == min(most, len(indices))
    assert turned_away == len(indices) - len(schedule)
