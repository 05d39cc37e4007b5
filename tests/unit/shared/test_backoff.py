from random import Random

from shared.backoff import Backoff


def test_ceilings_double_to_a_bound_and_start_over():
    backoff = Backoff(first_s=1, most_s=8, random=Random(1))
    waits = [backoff.next() for _ in range(200)]
    for number, wait in enumerate(waits):
        ceiling = min(8, 2**number)
        assert ceiling / 10 <= wait <= ceiling
    assert max(waits) > 7
    backoff.reset()
    assert backoff.next() <= 1


def test_those_that_failed_together_come_back_apart():
    firsts = sorted(Backoff(first_s=1, most_s=8, random=Random(seed)).next() for seed in range(1000))
    assert firsts[900] - firsts[100] > 0.6
