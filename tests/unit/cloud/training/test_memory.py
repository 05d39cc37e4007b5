"""What a job's process holds during a round, as the kernel measures it."""

import pytest

from tests.benchmarks.memory import growth_of_a_round

SIZE = 10_000_000
MODEL = 4 * SIZE


@pytest.mark.slow
def test_a_round_holds_two_models_and_a_half_however_many_clients_take_part():
    few, many = (growth_of_a_round(clients=clients, size=SIZE, strategy="fedavg") for clients in (6, 60))
    assert max(few, many) < 2.5 * MODEL
    assert abs(many - few) < 0.25 * MODEL


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["trimmed-mean", "median", "krum"])
def test_a_robust_rule_holds_no_more(rule):
    assert growth_of_a_round(clients=6, size=SIZE, rule=rule, strategy="fedavg") < 2.5 * MODEL
