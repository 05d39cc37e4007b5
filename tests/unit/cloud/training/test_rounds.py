"""Rounds over real client apps: who is waited for, what a repeated round gives, what the algorithms are worth."""

import msgspec
import numpy as np
import pytest

from cloud.models.line import LocalRecipe
from cloud.training.events import RoundFinished, RoundStarted, UpdateAccepted, UpdateLate
from cloud.training.pace import Pace
from cloud.training.progress import ClientState, project
from cloud.training.scaffold import CONTROL
from cloud.training.selection import Selection
from cloud.training.spec import check
from shared.errors import ContractError
from shared.task import Examples, Recipe
from shared.tasks.records import flatten
from tests.small_federation import TASK, Federation, skewed

SKEWED = LocalRecipe(epochs=10, batch_size=10, learning_rate=0.05)


@pytest.fixture
def federation(tmp_path):
    made = Federation(tmp_path)
    yield made
    made.close()


def finished(ledger):
    return [event for event in ledger.events() if isinstance(event, RoundFinished)]


def test_a_round_with_a_quorum_closes_without_the_rest_and_calls_it_late(federation):
    spec = federation.spec(rounds=1, fraction=0.5, selection=Selection(over=1.0), pace=Pace(quorum=1.0))
    ledger = federation.run(spec)
    (done,) = finished(ledger)
    (started,) = [event for event in ledger.events() if isinstance(event, RoundStarted)]
    assert (started.wanted, len(started.cohort)) == (2, 4)
    assert (done.accepted, done.late, done.refused) == (2, 2, 0)
    assert len(done.contributors) == 2
    assert sum(isinstance(event, UpdateLate) for event in ledger.events()) == 2
    states = [client.state for client in project(ledger.events())[1].clients.values()]
    assert sorted(states) == sorted([ClientState.UPLOADED, ClientState.UPLOADED, ClientState.LATE, ClientState.LATE])


def test_by_default_everybody_is_waited_for_and_who_is_silent_has_failed(federation):
    federation.grid.silent = {12}
    (done,) = finished(federation.run(federation.spec(rounds=1)))
    assert (done.accepted, done.late, done.refused) == (3, 0, 1)


def test_a_deadline_learnt_from_earlier_rounds_closes_the_next_one(federation):
    spec = federation.spec(rounds=3, pace=Pace(factor=2.0, quantile=0.75, least_s=1.0), min_devices=1)
    federation.grid.before_reply = lambda node: federation.clock.advance(0.5)
    federation.run(spec, upto=2)
    federation.grid.before_reply = lambda node: federation.clock.advance(5.0)
    ledger = federation.run(spec)
    deadlines = [event.deadline_s for event in ledger.events() if isinstance(event, RoundStarted)]
    assert deadlines[0] == spec.round_timeout_s
    assert deadlines[2] < 5.0
    assert finished(ledger)[2].accepted < 4


def test_a_device_within_a_budget_says_how_much_it_worked_through(federation, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(federation.clock.__class__, "monotonic", lambda self: float(next(ticks)))
    spec = federation.spec(rounds=1, pace=Pace(budget_s=3.0), local=LocalRecipe(batch_size=10), round_timeout_s=900.0)
    accepted = [event for event in federation.run(spec).events() if isinstance(event, UpdateAccepted)]
    assert {event.examples for event in accepted} == {30}


@pytest.mark.parametrize("local", [SKEWED, msgspec.structs.replace(SKEWED, scaffold=True)])
def test_a_round_done_again_and_replies_in_another_order_give_the_same_model(tmp_path, local):
    digests = []
    for name, order in (("a", list), ("b", lambda ids: ids[::-1])):
        federation = Federation(tmp_path / name)
        federation.grid.order = order
        spec = federation.spec(rounds=4, fraction=0.7, local=local)
        if name == "b":  # killed when two of round 3 had trained, and again after all had
            for replies in (2, 3):
                federation.run(spec, upto=2)
                _break_after(federation, replies)
                with pytest.raises(KeyboardInterrupt):
                    federation.run(spec)
                federation.grid.before_reply = lambda node: None
        digests.append(finished(federation.run(spec))[-1].digest)
        federation.close()
    assert digests[0] == digests[1]


def _break_after(federation, replies):
    left = iter(range(replies))

    def count(node):
        if next(left, None) is None:
            raise KeyboardInterrupt

    federation.grid.before_reply = count


def _trace(directory, seed, local):
    federation = Federation(directory)
    done = finished(federation.run(federation.spec(rounds=5, seed=seed, local=local)))
    federation.close()
    return done[-1]


def test_on_label_skewed_devices_scaffold_beats_averaging_at_equal_rounds(tmp_path, monkeypatch):
    monkeypatch.setattr("shared.tasks.network.MOMENTUM", 0.0)  # the same plain steps for both
    for seed in (3, 4, 5):
        averaged = _trace(tmp_path / f"fedavg-{seed}", seed, SKEWED)
        corrected = _trace(tmp_path / f"scaffold-{seed}", seed, msgspec.structs.replace(SKEWED, scaffold=True))
        assert corrected.loss < 0.95 * averaged.loss
        assert corrected.accuracy >= averaged.accuracy


def test_the_servers_variate_is_the_mean_of_the_devices(federation):
    spec = federation.spec(rounds=2, local=msgspec.structs.replace(SKEWED, scaffold=True))
    checkpoint = federation.run(spec).last_committed()[0]
    own = []
    for member in federation.members:
        with np.load(federation.directory / member.device / "small.control.npz") as kept:
            own.append(kept["small-run-1@2"])
    mean = np.mean(own, axis=0)
    assert np.abs(checkpoint.state[CONTROL] - mean).max() < 1e-3 * np.abs(mean).max()


def _trained(**fields):
    x, y = skewed(0)
    start = TASK.initial(seed=1, moments=_moments())
    recipe = Recipe(epochs=5, batch_size=10, learning_rate=0.05, seed=4, **fields)
    return start, TASK.train(start, Examples(x, y.astype(np.int64)), recipe)


def _moments():
    from shared.task import Moments

    return Moments(count=1, total=np.zeros(6), square=np.ones(6))


def test_the_proximal_term_holds_training_near_the_global_weights():
    ways = []
    for mu in (0.0, 0.1, 1.0, 5.0):
        start, trained = _trained(proximal=mu)
        ways.append(float(np.linalg.norm(flatten(trained.weights) - flatten(start))))
    assert ways == sorted(ways, reverse=True)
    assert ways[3] < ways[0] / 2


def test_training_that_is_stopped_has_done_at_least_one_batch():
    _, trained = _trained(stop=lambda: True)
    assert (trained.examples, trained.steps) == (2, 1)  # ten of five epochs of sixty


@pytest.mark.parametrize(
    "wrong",
    [
        {"local": LocalRecipe(scaffold=True, proximal=0.1)},
        {"local": LocalRecipe(scaffold=True), "pace": Pace(budget_s=1.0)},
        {"local": LocalRecipe(proximal=-1.0)},
    ],
)
def test_algorithms_that_exclude_each_other_are_refused(federation, wrong):
    with pytest.raises(ContractError):
        check(federation.spec(**wrong))
