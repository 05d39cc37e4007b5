"""Training with a buffer, over real client apps: who is slow holds nobody up, and counts for less."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.models.line import LocalRecipe
from cloud.training.events import ClientAsked, RoundFinished, UpdateAccepted, UpdateLate
from cloud.training.progress import project
from cloud.training.spec import check
from cloud.training.staleness import UNIT, Buffer, weight
from shared.errors import ContractError, TransportError
from tests.small_federation import Federation

LOCAL = LocalRecipe(epochs=1, batch_size=10, learning_rate=0.05)


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path, devices=6)
    yield made
    made.close()


def of(ledger, kind):
    return [event for event in ledger.events() if isinstance(event, kind)]


def slow(federation, node, *, until):
    """Node `node` answers nothing until `until` messages were sent to anybody."""
    pull = federation.grid.pull_messages

    def pull_messages(ids):
        federation.grid.silent = {node} if len(federation.grid.asked) < until else set()
        return pull(ids)

    federation.grid.pull_messages = pull_messages


def test_every_commit_takes_a_buffer_full_and_no_device_starves(federation):
    ledger = federation.run_buffered(federation.spec(rounds=10, local=LOCAL, buffer=Buffer(size=2, concurrency=3)))
    done = of(ledger, RoundFinished)
    assert [one.round for one in done] == list(range(1, 11))
    assert {one.accepted for one in done} == {2}
    asked = [event.device for event in of(ledger, ClientAsked)]
    counts = [asked.count(member.device) for member in federation.members]
    assert max(counts) - min(counts) <= 1
    assert done[-1].loss < done[0].loss
    assert len(project(ledger.events())) == 10


def test_a_slow_device_holds_nobody_up_and_its_update_says_how_stale_it_is(federation):
    slow(federation, 12, until=20)
    spec = federation.spec(rounds=8, local=LOCAL, buffer=Buffer(size=2, concurrency=6, staleness=20))
    ledger = federation.run_buffered(spec)
    stale = [event for event in of(ledger, UpdateAccepted) if event.device == "watch-2"]
    assert len(of(ledger, RoundFinished)) == 8
    assert stale[0].staleness > 0


def test_what_too_many_commits_have_overtaken_is_not_taken(federation):
    slow(federation, 12, until=40)
    spec = federation.spec(rounds=14, local=LOCAL, buffer=Buffer(size=2, concurrency=3, staleness=1))
    ledger = federation.run_buffered(spec)
    assert "watch-2" in {event.device for event in of(ledger, UpdateLate)}
    assert max(event.staleness for event in of(ledger, UpdateAccepted)) <= 1


def test_after_a_kill_it_goes_on_from_the_last_commit(federation):
    spec = federation.spec(rounds=6, local=LOCAL, buffer=Buffer(size=2, concurrency=3))
    left = iter(range(15))

    def die(node):
        if next(left, None) is None:
            raise KeyboardInterrupt

    federation.grid.before_reply = die
    with pytest.raises(KeyboardInterrupt):
        federation.run_buffered(spec)
    before = of(federation.ledger(spec), RoundFinished)
    federation.grid.before_reply = lambda node: None
    federation.grid.waiting.clear()
    done = of(federation.run_buffered(spec), RoundFinished)
    assert 1 <= len(before) < 6
    assert [one.round for one in done] == list(range(1, 7))
    assert [one.digest for one in done[: len(before)]] == [one.digest for one in before]


def test_when_nobody_answers_the_attempt_ends(federation):
    federation.grid.silent = set(federation.apps)
    with pytest.raises(TransportError):
        federation.run_buffered(federation.spec(rounds=1, buffer=Buffer(size=1, concurrency=2)))


def test_one_fresh_buffer_of_all_devices_is_the_weighted_mean(tmp_path):
    models = []
    for name in ("rounds", "buffer"):
        made = Federation(tmp_path / name, examples=[60, 40, 20, 60])
        if name == "rounds":
            ledger = made.run(made.spec(rounds=1, local=LOCAL))
        else:
            ledger = made.run_buffered(made.spec(rounds=1, local=LOCAL, buffer=Buffer(size=4, concurrency=4)))
        models.append(ledger.last_committed()[0].weights)
        made.close()
    for name, values in models[0].items():
        assert np.allclose(values, models[1][name], atol=1e-6)


@given(st.integers(1, 1 << 24), st.integers(0, 100))
def test_a_staler_update_never_counts_for_more(examples, stale):
    assert 1 <= weight(examples, stale + 1) <= weight(examples, stale) <= UNIT * examples
    assert weight(examples, stale) == pytest.approx(UNIT * examples / math.sqrt(1 + stale), abs=0.51)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"concurrency": 7}, {"rate": 0.0}, {"staleness": -1}])
def test_a_buffer_out_of_range_is_refused(federation, wrong):
    with pytest.raises(ContractError):
        check(federation.spec(buffer=Buffer(**({"size": 2, "concurrency": 2} | wrong))))
