from cloud.training.cohort import cohort, local_seed

DEVICES = [f"watch-{number}" for number in range(20)]


def test_the_order_in_which_devices_are_listed_leaves_no_trace():
    assert cohort(7, 3, DEVICES, 0.5) == cohort(7, 3, reversed(DEVICES), 0.5)


def test_a_fraction_draws_its_share_rounded_up_and_sorted():
    drawn = cohort(7, 1, DEVICES, 0.31)
    assert len(drawn) == 7
    assert drawn == sorted(drawn)
    assert cohort(7, 1, DEVICES, 1.0) == sorted(DEVICES)
    assert len(cohort(7, 1, DEVICES, 0.001)) == 1
    assert cohort(7, 1, [], 1.0) == []


def test_rounds_and_seeds_draw_differently():
    draws = {tuple(cohort(seed, round_, DEVICES, 0.5)) for seed in range(3) for round_ in range(3)}
    assert len(draws) == 9


def test_one_device_less_changes_at_most_one_place():
    before = set(cohort(7, 1, DEVICES, 0.5))
    after = set(cohort(7, 1, [device for device in DEVICES if device != "watch-4"], 0.5))
    assert len(before - after) <= 1


def test_each_device_and_round_trains_with_a_seed_of_its_own():
    seeds = {local_seed(7, round_, device) for round_ in range(10) for device in DEVICES}
    assert len(seeds) == 200
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert local_seed(7, 1, "watch-1") == local_seed(7, 1, "watch-1")
