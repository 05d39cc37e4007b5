import dp_accounting
import msgspec
import pytest

from cloud.training.private.accountant import BudgetError, check_budget, distinct, epsilon
from cloud.training.private.terms import Charge, Noise, Private, check_private, exclude_robust
from shared.errors import ContractError, RefusedError

NOISE = Noise(epsilon=8.0, delta=1e-3, clip=1.0, multiplier=1.0)


def charges(count, multiplier=1.0, run="r"):
    return [Charge(run=run, round=number, release="x", multiplier=multiplier) for number in range(count)]


@pytest.mark.parametrize(
    "changes",
    [
        {"least": 2}, {"least": 11}, {"neighbours": 1}, {"neighbours": 5}, {"threshold": 0.49}, {"threshold": 1.0},
        {"reach": 0.0}, {"stage_timeout_s": 0.0},
    ],
)  # fmt: skip
def test_terms_that_protect_nobody_are_refused(changes):
    check_private(Private(), devices=10)
    with pytest.raises(ContractError):
        check_private(msgspec.structs.replace(Private(), **changes), devices=10)


@pytest.mark.parametrize(
    "changes",
    [{"epsilon": 0.0}, {"epsilon": float("nan")}, {"delta": 0.2}, {"delta": 0.0}, {"clip": 0.0}, {"multiplier": 0.0}],
)
def test_noise_that_hides_nothing_is_refused(changes):
    check_private(Private(noise=NOISE), devices=10)
    with pytest.raises(ContractError):
        check_private(Private(noise=msgspec.structs.replace(NOISE, **changes)), devices=10)


def test_robust_and_private_exclude_each_other_and_say_why():
    exclude_robust(None, "krum")
    exclude_robust(Private(), "")
    with pytest.raises(RefusedError, match="single devices"):
        exclude_robust(Private(), "krum")


def test_epsilon_lies_just_above_the_exact_one():
    for multiplier, count in ((1.0, 1), (0.7, 10), (4.0, 100)):
        exact = dp_accounting.get_epsilon_gaussian(multiplier / count**0.5, 1e-3)
        assert exact <= epsilon(charges(count, multiplier), 1e-3) <= 1.25 * exact + 0.05
    assert epsilon([], 1e-3) == 0.0


def test_a_disclosure_counts_once_and_in_any_order():
    mixed = [*charges(3), *charges(2, 0.8, "s"), *charges(3)]
    assert len(distinct(mixed)) == 5
    assert epsilon(mixed, 1e-3) == epsilon(list(reversed(mixed)), 1e-3)


def test_the_budget_holds_to_the_last_round():
    fitting = next(n for n in range(1, 100) if epsilon(charges(n + 1), NOISE.delta) > NOISE.epsilon)
    assert check_budget(charges(fitting), NOISE, population="p") <= NOISE.epsilon
    with pytest.raises(BudgetError, match="budget is 8"):
        check_budget(charges(fitting + 1), NOISE, population="p")
