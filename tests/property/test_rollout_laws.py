"""Whatever devices report and operators do, in whatever order: no wave is skipped or asked early, and it ends."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud.rollout.advance import Report, View, advance
from cloud.rollout.desired import desired
from cloud.rollout.evidence import Evidence, together
from cloud.rollout.operate import admit, pause, resume, retarget, roll_back
from cloud.rollout.plan import plan
from cloud.rollout.sequential import Verdict
from cloud.rollout.spec import Abort, Budget, Gates, Growth, Margin, Mode, Shadow, Spec, WaveSize, Window
from cloud.rollout.state import BAD, SETTLED, TERMINAL, Ask, Complete, Finish, Halt, Open, Rollout, RolloutState, apply
from cloud.rollout.state import Shadow as Begin
from cloud.rollout.windows import is_open
from shared.messages import Stage

NAMES = [f"d{number}" for number in range(7)]
LATE = [f"x{number}" for number in range(3)]
GOOD = Evidence(inputs=500, agreed=500)
WORSE = Evidence(inputs=500, agreed=100)

specs = st.builds(
    Spec,
    release=st.just("m-2"),
    canaries=st.sets(st.sampled_from(NAMES[:2]), max_size=2).map(tuple),
    waves=st.sampled_from([(), (WaveSize(percent=30),), (WaveSize(count=1), WaveSize(percent=60))]),
    soak_s=st.sampled_from([0.0, 5.0]),
    deadline_s=st.sampled_from([20.0, 1e9]),
    windows=st.sampled_from([(), (Window(start="06:00", end="18:00"),)]),
    budget=st.sampled_from([Budget(), Budget(devices=1), Budget(percent=50)]),
    shadow=st.sampled_from([Shadow(), Shadow(mode=Mode.SHADOW, least=10, within_s=40_000.0)]),
    gates=st.just(Gates(agreement=Margin(margin=0.2))),
    abort=st.sampled_from([Abort(), Abort(failed=0.5)]),
)


class RolloutMachine(RuleBasedStateMachine):
    """One rollout among devices that say anything, with operators who do anything."""

    @initialize(spec=specs, size=st.integers(2, 7))
    def begin(self, spec, size):
        self.at = 0.0
        self.names = NAMES[:size]
        spec = msgspec.structs.replace(spec, canaries=tuple(set(spec.canaries) & set(self.names)))
        self.rollout = Rollout(
            id="r", fleet="f", model="m", release="m-2", previous="m-1", spec=spec, waves=plan(self.names, spec),
            created_at=0.0,
        )  # fmt: skip
        self.reports: dict[str, Report] = {}
        self.evidence: dict[str, Evidence] = {}
        self.present = set(self.names)
        self.excused: set[str] = set()
        self.begun: list[int] = []
        self.opened: list[int] = []

    @property
    def places(self):
        return {name: ("hall" if index % 2 else "yard") for index, name in enumerate(NAMES + LATE)}

    def view(self):
        members = {place: list(self.places.values()).count(place) for place in ("hall", "yard")}
        return View(
            reports=self.reports, evidence=self.found(), excused=self.excused, places=self.places, members=members
        )

    def found(self):
        """What each wave has compared, as the database adds it up."""
        waves = enumerate(self.rollout.waves)
        return {index: together(map(self.evidence.get, self.evidence.keys() & wave.devices)) for index, wave in waves}

    @rule(index=st.integers(0, 9), stage=st.sampled_from(list(Stage)))
    def speak(self, index, stage):
        name = (NAMES + LATE)[index]
        before = self.reports.get(name, Report())
        self.reports[name] = msgspec.structs.replace(before, stage=stage)

    @rule(good=st.booleans())
    def compare(self, good):
        for name in self.rollout.shadowing:
            self.evidence[name] = GOOD if good else WORSE

    @rule(stage=st.sampled_from([Stage.ACTIVE, Stage.ACTIVE, Stage.ACTIVE, Stage.FAILED]))
    def settle(self, stage):
        for name in self.rollout.asked:
            if self.view().stage(name) not in SETTLED:
                self.reports[name] = msgspec.structs.replace(self.reports.get(name, Report()), stage=stage)

    @rule(passed=st.sampled_from([0.0, 3.0, 10.0, 25.0, 3600.0, 40_000.0]))
    def wait(self, passed):
        self.at += passed

    @rule(name=st.sampled_from(LATE))
    def come_late(self, name):
        self.present.add(name)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name):
        self.excused.add(name)

    @rule(name=st.sampled_from(NAMES))
    def come_back(self, name):
        self.excused.discard(name)

    @precondition(lambda self: self.rollout.state not in TERMINAL)
    @rule(stop=st.booleans())
    def hold(self, stop):
        before = self.rollout
        self.rollout = (pause if stop else resume)(before, at=self.at)
        if not stop and before.paused_at is not None:
            gone = self.at - before.paused_at
            for name, held in self.reports.items():
                if held.asked_at is not None:
                    self.reports[name] = msgspec.structs.replace(held, asked_at=held.asked_at + gone)

    @precondition(lambda self: self.rollout.state not in TERMINAL)
    @rule(spec=specs)
    def change(self, spec):
        spec = msgspec.structs.replace(spec, canaries=())
        self.rollout = retarget(self.rollout, spec, self.names)

    @precondition(lambda self: self.rollout.state is RolloutState.DONE)
    @rule()
    def take_back(self):
        self.rollout = roll_back(self.rollout, reason="by hand", at=self.at)

    @rule()
    def prosper(self):
        """All goes well for a while."""
        self.compare(good=True)
        self.settle(Stage.ACTIVE)
        self.wait(3600.0)
        self.turn()

    @rule()
    def turn(self):
        if self.rollout.state is RolloutState.HALTED:
            assert advance(self.rollout, self.view(), at=self.at) == []
        self.rollout = admit(self.rollout, sorted(self.present - self.excused))
        for action in advance(self.rollout, self.view(), at=self.at):
            self._expect(action)
            self.rollout = apply(self.rollout, action, at=self.at)
            if isinstance(action, Ask):
                for name in action.devices:
                    held = self.reports.get(name, Report())
                    self.reports[name] = msgspec.structs.replace(held, asked_at=self.at)
                self._check_budgets()
        assert advance(self.rollout, self.view(), at=self.at) == []  # a turn leaves nothing due

    def _expect(self, action):
        before = self.rollout
        assert before.state not in TERMINAL
        assert before.paused_at is None or isinstance(action, Halt)
        match action:
            case Begin(wave):
                assert wave == len(self.begun) == before.wave + 1
                assert is_open(before.spec.windows, self.at)
                self.begun.append(wave)
            case Open(wave, proofs):
                if before.state is not RolloutState.SHADOWING:
                    assert not before.compares
                    self.begun.append(wave)
                elif before.compares and set(before.waves[wave].devices) - self.excused:
                    assert {proof.verdict for proof in proofs} == {Verdict.NOT_WORSE}
                    assert self.found()[wave].agreed > 0.8 * self.found()[wave].inputs
                    assert self.found()[wave].inputs >= before.spec.shadow.least
                assert wave == len(self.opened)
                self.opened.append(wave)
            case Ask(devices):
                assert is_open(before.spec.windows, self.at)
                assert before.state is RolloutState.OPEN
                assert not set(devices) & (set(before.asked) | self.excused)
                assert set(devices) <= set(before.waves[before.wave].devices)
            case Complete():
                late = self.at - before.waves[before.wave].deadline_s
                for name in set(before.waves[before.wave].devices) - self.excused:
                    assert name in before.asked
                    held = self.reports[name]
                    since = before.opened_at if held.asked_at is None else held.asked_at
                    assert held.stage in SETTLED or since <= late
            case Halt(reason) if "did not settle" in reason:
                name = reason.split()[0]
                (wave,) = [wave for wave in before.waves if name in wave.devices]
                assert self.reports[name].asked_at + wave.deadline_s <= self.at
            case Finish():
                assert self.opened == list(range(len(before.waves)))
                assert self.present - self.excused <= set(before.asked)  # nobody is left behind

    def _check_budgets(self):
        budget = self.rollout.spec.budget
        unsettled = [n for n in self.rollout.asked if self.view().stage(n) not in SETTLED and n not in self.excused]
        for place, members in self.view().members.items():
            here = [name for name in unsettled if self.places[name] == place]
            if budget.devices:
                asked_now = [n for n in here if self.reports[n].asked_at == self.at]
                assert len(here) <= budget.devices or not asked_now
            if budget.percent:
                asked_now = [n for n in here if self.reports[n].asked_at == self.at]
                assert len(here) <= max(1, int(budget.percent / 100 * members)) or not asked_now

    @invariant()
    def every_device_is_in_one_wave(self):
        planned = [name for wave in self.rollout.waves for name in wave.devices]
        assert len(planned) == len(set(planned))

    @invariant()
    def who_is_asked_was_reached(self):
        assert set(self.rollout.asked) <= set(self.rollout.reached)
        wanted = desired("f", [self.rollout])
        assert not set(wanted.challengers) & set(self.rollout.asked)

    def teardown(self):
        """Whatever state it is in: left alone, with operators who resume and devices that say nothing, it ends."""
        if not hasattr(self, "rollout"):
            return
        if self.rollout.state not in TERMINAL:
            self.rollout = resume(self.rollout, at=self.at)
        for _ in range(200):
            if self.rollout.state in TERMINAL:
                return
            self.at += 86_400.0 / 2 + 600
            for action in advance(self.rollout, self.view(), at=self.at):
                self.rollout = apply(self.rollout, action, at=self.at)
        raise AssertionError(f"a rollout stays {self.rollout.state}")


TestRollout = RolloutMachine.TestCase
TestRollout.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(size=st.integers(1, 30), spec=specs, growth=st.one_of(st.none(), st.builds(Growth, first=st.integers(1, 9))))
def test_every_device_is_in_exactly_one_wave(size, spec, growth):
    names = [f"d{number}" for number in range(size)]
    spec = msgspec.structs.replace(spec, canaries=tuple(set(spec.canaries) & set(names)))
    if growth is not None:
        spec = msgspec.structs.replace(spec, growth=growth, waves=())
    waves = plan(names, spec)
    assert sorted(device for wave in waves for device in wave.devices) == sorted(names)
    assert all(wave.devices for wave in waves)


def test_bad_is_settled():
    assert BAD < SETTLED
