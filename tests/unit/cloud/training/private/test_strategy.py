import msgspec
import numpy as np
import pytest

from cloud.training.events import BudgetReached, PrivacySpent, RoundFinished, UpdateMasked
from cloud.training.private.accountant import BudgetError, epsilon
from cloud.training.private.secret import FILE
from cloud.training.private.terms import Charge, Noise, Private, Where
from shared import federation as fed
from shared.errors import TransportError
from shared.masking import STEPS, Grid
from shared.tasks.records import FLAT, flatten, read_arrays
from shared.tasks.weights import weights_digest
from tests.unit.cloud.training.private.crew import NAMES, NODES, REGISTERED, initial, make_spec, play

NOISE = Noise(epsilon=100.0, delta=1e-3, clip=0.5, multiplier=2.0)
LOST = {NODES[name] for name in NAMES[1:4]}


def change(strategy):
    return flatten(strategy.state.weights) - flatten(initial())


def gone(*stages):
    return lambda node, _round, stage: node in LOST and stage in stages


def plain(stores, directory, *, without=frozenset()):
    """The weighted mean in the clear, of those who deliver."""
    return play(
        stores,
        directory,
        make_spec(privacy=None),
        drops=lambda node, _round, stage: node in without and stage == "train",
    )[0]


def test_the_sum_is_the_plain_mean_within_half_a_step(stores, tmp_path):
    secure, _, _ = play(stores, tmp_path / "a", make_spec())
    clear = plain(stores, tmp_path / "b")
    error = np.abs(flatten(secure.state.weights) - flatten(clear.state.weights)).max()
    assert 0 < error <= Grid(reach=1.0, bits=32).step / 2 + 1e-6  # float32 weights of length one add their own step


@pytest.mark.parametrize("stages", [("masked", "unmask"), ("share-keys",), ("setup",)])
def test_three_of_ten_are_lost_before_they_deliver(stores, tmp_path, stages):
    secure, _, _ = play(stores, tmp_path / "a", make_spec(), drops=gone(*stages, "unmask"))
    clear = plain(stores, tmp_path / "b", without=LOST)
    assert np.abs(change(secure) - change(clear)).max() <= 1 / STEPS / 2 + 1e-6
    finished = [event for event in secure._ledger.events() if isinstance(event, RoundFinished)]
    assert (finished[0].accepted, finished[0].refused) == (7, 3)
    assert finished[0].train_loss == pytest.approx(clear._ledger.events()[-1].train_loss, abs=1e-3)


def test_three_of_ten_are_lost_after_they_delivered(stores, tmp_path):
    secure, _, _ = play(stores, tmp_path / "a", make_spec(), drops=gone("unmask"))
    clear = plain(stores, tmp_path / "b")
    assert np.abs(change(secure) - change(clear)).max() <= 1 / STEPS / 2 + 1e-6
    assert sum(isinstance(event, UpdateMasked) for event in secure._ledger.events()) == 10


def test_on_a_sparse_graph(stores, tmp_path):
    sparse = make_spec(Private(neighbours=6))
    secure, _, _ = play(stores, tmp_path / "a", sparse, drops=lambda n, _r, s: n == 103 and s == "masked")
    clear = plain(stores, tmp_path / "b", without={103})
    assert np.abs(change(secure) - change(clear)).max() <= 1 / STEPS / 2 + 1e-6


def test_too_many_are_lost_and_nothing_is_opened(stores, tmp_path):
    with pytest.raises(TransportError):
        play(stores, tmp_path, make_spec(), drops=lambda node, _r, stage: node < 106 and stage == "masked")
    with pytest.raises(TransportError):
        play(stores, tmp_path, make_spec(), run=2, drops=lambda node, _r, stage: node < 107 and stage == "unmask")


def test_what_the_coordinator_is_sent_is_nobodys_update(stores, tmp_path):
    _, nodes, _ = play(stores, tmp_path / "a", make_spec())
    _, bare, _ = play(stores, tmp_path / "b", make_spec(privacy=None))
    updates = {node: read_arrays(r.content[fed.ARRAYS])[FLAT] for stage, node, r in bare.received if stage == "train"}
    masked = {node: read_arrays(r.content[fed.ARRAYS])[FLAT] for stage, node, r in nodes.received if stage == "masked"}
    assert masked.keys() == updates.keys() == set(NODES.values())
    grid = Grid(reach=1.0, bits=32)
    for number, (name, node) in enumerate(NODES.items()):
        true = grid.quantise(updates[node].astype(np.float64) - flatten(initial()), REGISTERED[name])
        assert np.mean(masked[node][:-2] == true) < 0.01
        spread = np.corrcoef(masked[node][:-2].astype(float), true.view(np.int32).astype(float))[0, 1]
        assert abs(spread) < 0.05, number
    assert not any(stage in ("train", "query.moments") for stage, _, _ in nodes.received)


def test_noise_is_of_the_size_that_was_paid_for(stores, tmp_path):
    noisy, _, _ = play(stores, tmp_path / "a", make_spec(Private(noise=NOISE)))
    quiet = msgspec.structs.replace(NOISE, multiplier=1e-3, epsilon=1e9)
    clear, _, _ = play(stores, tmp_path / "b", make_spec(Private(noise=quiet)))
    measured = np.std(change(noisy) - change(clear))
    assert measured == pytest.approx(NOISE.multiplier * NOISE.clip / 10, rel=0.05)


def test_local_noise_is_added_by_each_device(stores, tmp_path):
    local = msgspec.structs.replace(NOISE, where=Where.LOCAL)
    noisy, _, _ = play(stores, tmp_path, make_spec(Private(noise=local)))
    assert np.std(change(noisy)) == pytest.approx(2 * NOISE.multiplier * NOISE.clip / np.sqrt(10), rel=0.05)
    paid = [event for event in noisy._ledger.events() if isinstance(event, PrivacySpent)]
    assert [event.release for event in paid] == ["request 1"]


def test_the_budget_ends_the_run_with_the_last_committed_model(stores, tmp_path):
    fits = epsilon([Charge(run="r", round=n, release="", multiplier=2.0) for n in range(2)], 1e-3)
    short = msgspec.structs.replace(NOISE, epsilon=fits + 1e-9)
    strategy, nodes, why = play(stores, tmp_path, make_spec(Private(noise=short), rounds=4))
    events = strategy._ledger.events()
    reached = [event for event in events if isinstance(event, BudgetReached)]
    paid = [event for event in events if isinstance(event, PrivacySpent)]
    assert strategy.state.round == 2 and [event.round for event in reached] == [3] and "budget" in why
    assert reached[0].epsilon == paid[-1].epsilon == pytest.approx(fits)
    assert (
        weights_digest(strategy.state.weights)
        == next(e for e in reversed(events) if isinstance(e, RoundFinished)).digest
    )
    assert len([stage for stage, _, _ in nodes.received if stage == "setup"]) == 20  # nobody was asked a third time


def test_what_others_spent_counts(stores, tmp_path):
    before = tuple(Charge(run="older", round=n, release="x", multiplier=0.5) for n in range(40))
    with pytest.raises(BudgetError):
        play(stores, tmp_path, make_spec(Private(noise=NOISE, spent=before)))


def test_a_repeated_round_has_the_same_noise_and_is_paid_once(stores, tmp_path):
    spec = make_spec(Private(noise=NOISE))
    first, _, _ = play(stores, tmp_path, spec)
    again, _, _ = play(stores, tmp_path, spec, run=2)  # killed before the commit: the same round, the same directory
    assert weights_digest(first.state.weights) == weights_digest(again.state.weights)
    assert len([event for event in again._ledger.events() if isinstance(event, PrivacySpent)]) == 1
    assert (tmp_path / FILE).stat().st_mode & 0o77 == 0


def test_another_sum_of_the_same_round_has_other_noise_and_is_paid_again(stores, tmp_path):
    spec = make_spec(Private(noise=NOISE))
    first, _, _ = play(stores, tmp_path, spec)
    other, _, _ = play(stores, tmp_path, spec, run=2, drops=gone("masked"))
    paid = [event for event in other._ledger.events() if isinstance(event, PrivacySpent)]
    assert len({event.release for event in paid}) == 2 and paid[1].epsilon > paid[0].epsilon
    assert np.std(change(first) * 10 - change(other) * 7) > NOISE.multiplier * NOISE.clip  # no noise cancels
