"""Who is left out of later cohorts: a function of the ledger, however often it was told."""

import numpy as np
import pytest
from flwr.app import Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from cloud.training.asking import Roster
from cloud.training.events import Cause, RoundFinished, RoundStarted, StatisticsTaken, UpdateAccepted, UpdateRefused
from cloud.training.gate_terms import GateTerms
from cloud.training.ledger import Checkpoint, RunLedger
from cloud.training.quarantine import Conduct, is_over
from cloud.training.spec import Member, RunSpec
from cloud.training.strategy import RunStrategy
from shared import federation as fed
from shared.clock import VirtualClock
from shared.tasks.records import FLAT, flat_record, read_arrays, to_record
from shared.tasks.weights import weights_digest

DEVICES = [f"watch-{number}" for number in range(6)]


def refused(device, round_, cause=Cause.GATE):
    return UpdateRefused(at=0.0, round=round_, device=device, reason="-", cause=cause)


EVENTS = st.lists(
    st.builds(refused, st.sampled_from(DEVICES), st.integers(1, 5), st.sampled_from(list(Cause))), max_size=30
)


@given(EVENTS, st.integers(0, 4))
def test_telling_a_round_again_changes_nothing(events, limit):
    once = Conduct.of(events, limit=limit)
    again = Conduct.of([*events, *events], limit=limit)
    for number in range(1, 8):
        assert once.quarantined(DEVICES, before=number) == again.quarantined(DEVICES, before=number)


@given(EVENTS, st.integers(1, 4))
def test_only_earlier_rounds_and_only_the_gates_refusals_decide(events, limit):
    conduct = Conduct.of(events, limit=limit)
    for number in range(1, 8):
        expected = {
            device
            for device in DEVICES
            if len({e.round for e in events if (e.device, e.cause) == (device, Cause.GATE) and e.round < number})
            >= limit
        }
        assert conduct.quarantined(DEVICES, before=number) == sorted(expected)


def test_earlier_runs_count_and_0_is_never():
    assert Conduct.of([refused("watch-1", 1)], limit=3, prior={"watch-1": 2}).quarantined(DEVICES, before=2) == [
        "watch-1"
    ]
    assert not Conduct.of([refused("watch-1", 1)], limit=0, prior={"watch-1": 9}).quarantined(DEVICES, before=2)
    assert not is_over(0, limit=0)


class OddGrid:
    """Honest devices, and: one that mirrors the model, one that is vetoed, one that fails, one that is silent."""

    def send_and_receive(self, messages, *, timeout=None):
        for message in messages:
            if answer := self._answer(message, DEVICES[message.metadata.dst_node_id - 100]):
                yield answer

    def _answer(self, message, device):
        if message.metadata.message_type == fed.EVALUATE:
            counts = MetricRecord({fed.EXAMPLES: 4, fed.CORRECT: 2, fed.LOSS_SUM: 1.0})
            return Message(RecordDict({fed.METRICS: counts}), reply_to=message)
        if device == "watch-2":
            return Message(Error(code=fed.VETOED, reason="hours"), reply_to=message)
        if device == "watch-3":
            return Message(Error(code=2, reason="MemoryError"), reply_to=message)
        if device == "watch-4":
            return None
        weights = read_arrays(message.content[fed.ARRAYS])[FLAT]
        values = -weights if device == "watch-1" else weights * np.float32(1.01)
        metrics = MetricRecord({fed.EXAMPLES: 10, fed.LOSS: 0.5})
        return Message(RecordDict({fed.ARRAYS: flat_record(values), fed.METRICS: metrics}), reply_to=message)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return RunLedger(tmp_path)


def play(ledger, *, rounds, **terms):
    members = [Member(device=device, node=100 + number) for number, device in enumerate(DEVICES)]
    if ledger.last_committed() is None:
        weights = {"w": np.random.default_rng(1).standard_normal(50, dtype=np.float32)}
        ledger.write_checkpoint(Checkpoint(0, weights, {}))
        registered = dict.fromkeys(DEVICES, 10)
        ledger.append(StatisticsTaken(at=0, registered=registered, holdout=registered, digest=weights_digest(weights)))
    begin, registered = ledger.last_committed()
    spec = RunSpec(run="run-1", task="activity", members=members, seed=7, gate=GateTerms(**terms))
    roster = Roster(members, task="activity", ttl_s=10.0)
    clock = VirtualClock()
    strategy = RunStrategy(spec, roster=roster, registered=registered, begin=begin, ledger=ledger, clock=clock)
    strategy.start(OddGrid(), to_record(begin.weights), num_rounds=rounds - begin.round, timeout=1.0)
    return [event.quarantined for event in ledger.events() if isinstance(event, RoundStarted)]


def test_the_round_goes_on_without_who_was_refused_too_often(ledger):
    assert play(ledger, rounds=4, strikes=2) == [[], [], ["watch-1"], ["watch-1"]]
    causes = {e.device: e.cause for e in ledger.events() if isinstance(e, UpdateRefused)}
    assert causes == {
        "watch-1": Cause.GATE, "watch-2": Cause.VETOED, "watch-3": Cause.FAILED, "watch-4": Cause.SILENT,
    }  # fmt: skip
    last = [event for event in ledger.events() if isinstance(event, RoundFinished)][-1]
    assert (last.accepted, last.refused, last.vetoed) == (2, 2, 1)
    assert "watch-1" not in last.devices  # nor does its judgement count


def test_a_job_that_is_started_again_leaves_out_the_same_devices(ledger):
    for rounds in (1, 2, 4):
        told = play(ledger, rounds=rounds, strikes=2)
    assert told == [[], [], ["watch-1"], ["watch-1"]]


def test_the_bound_follows_the_round_before(ledger):
    play(ledger, rounds=3, clip_to_median=0.5)
    taken = [event for event in ledger.events() if isinstance(event, UpdateAccepted)]
    assert [event.clipped for event in taken] == [False] * 2 + [True] * 4
    assert all(event.way > 0 for event in taken)
