"""Whatever devices report, in whatever order: no wave is skipped, none is opened twice, and an end is an end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.rollout.advance import BAD, TERMINAL, Finish, Halt, Open, Report, Rollout, RolloutState, advance, apply
from cloud.rollout.plan import Pace, plan
from shared.messages import Stage

NAMES = [f"d{number}" for number in range(7)]

paces = st.builds(
    Pace,
    canaries=st.sets(st.sampled_from(NAMES[:2]), max_size=2).map(tuple),
    waves=st.sampled_from([(1.0,), (0.3, 1.0), (0.2, 0.6, 1.0)]),
    soak_s=st.sampled_from([0.0, 5.0]),
    deadline_s=st.sampled_from([20.0, 1e9]),
    tolerated=st.sampled_from([0.0, 0.5]),
)
happenings = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(list(Stage)), st.floats(0, 15, allow_nan=False)), max_size=60
)


@settings(max_examples=300)
@given(size=st.integers(1, 7), pace=paces, story=happenings)
def test_waves_open_in_order_and_once(size, pace, story):
    names = NAMES[:size]
    if not set(pace.canaries) <= set(names):
        pace = Pace(waves=pace.waves)
    rollout = Rollout(
        id="r", fleet="f", model="m", release="m-2", previous="m-1", waves=plan(names, pace), created_at=0.0
    )
    reports, at, opened = {}, 0.0, []
    for device, stage, pause in [("", None, 0.0), *story]:
        at += pause
        if stage is not None and device in names:
            reports[device] = Report(stage=stage)
        before = rollout
        actions = advance(rollout, reports, at=at)
        for action in actions:
            assert rollout.state not in TERMINAL
            if isinstance(action, Open):
                opened.append(action.wave)
            if isinstance(action, Finish):
                assert opened == list(range(len(rollout.waves)))
            rollout = apply(rollout, action, at=at)
        assert advance(rollout, reports, at=at) == []  # a turn leaves nothing due
        if before.state in TERMINAL:
            assert actions == []
        if rollout.state is RolloutState.OPEN or rollout.state is RolloutState.SOAKING:
            for wave in rollout.waves[: rollout.wave + 1]:
                failed = [name for name in wave.devices if name in reports and reports[name].stage in BAD]
                assert len(failed) <= wave.tolerated
        assert any(isinstance(action, Halt) for action in actions) == (
            rollout.state is RolloutState.HALTED and before.state is not RolloutState.HALTED
        )
    assert opened == list(range(len(opened)))


@given(size=st.integers(1, 7), pace=paces)
def test_every_device_is_in_exactly_one_wave(size, pace):
    names = NAMES[:size]
    if not set(pace.canaries) <= set(names):
        pace = Pace(waves=pace.waves)
    planned = [device for wave in plan(names, pace) for device in wave.devices]
    assert sorted(planned) == sorted(names)
