"""Laws of secure aggregation: masks cancel for whoever drops out, shares rebuild, rounding stays within half a step."""

from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.training.private.graph import neighbours
from cloud.training.private.terms import Private
from cloud.training.private.unmask import unmask
from edge.training.secagg import Sessions
from shared.errors import RefusedError, TransportError
from shared.masking import STEPS, Grid, gaussian, mask, width_for
from shared.secagg import Masked, Setup, ShareKeys, Unmask, check_threshold

LENGTH = 5
ROUND = 3


@given(secret=st.binary(min_size=32, max_size=32), threshold=st.integers(2, 4), data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_threshold_of_the_shares_rebuilds_the_secret_and_one_fewer_does_not(secret, threshold, data):
    shares = create_shares(secret, threshold, 5)
    subset = data.draw(st.sampled_from(list(combinations(shares, threshold))))
    assert combine_shares(list(subset)) == secret
    with suppress(ValueError):
        assert combine_shares(list(subset[:-1])) != secret


class Crew:
    """Devices with vectors of their own, driven stage by stage without a network."""

    def __init__(self, size, degree, bits):
        self.names = [f"d{number}" for number in range(size)]
        held = min(degree or size, size - 1)
        self.threshold = Private().shares(held)
        self.bits = bits
        self.devices = {name: Sessions() for name in self.names}
        self.keys = {
            name: sessions.setup(1, ROUND, Setup(threshold=self.threshold, neighbours=held))
            for name, sessions in self.devices.items()
        }
        self.graph = neighbours(self.names, degree, seed=1, round_=ROUND)
        self.sealed = {
            name: sessions.share(
                1, ROUND, ShareKeys(device=name, keys={peer: self.keys[peer] for peer in self.graph[name]})
            ).sealed
            for name, sessions in self.devices.items()
        }

    def sharing(self, silent):
        return [name for name in self.names if name not in silent]

    def terms(self, name, sharing):
        peers = [peer for peer in self.graph[name] if peer in sharing]
        return Masked(sealed={peer: self.sealed[peer][name] for peer in peers}, reach=1.0, bits=self.bits, most=9)

    def deliver(self, name, sharing, vector):
        self.devices[name].receive(1, ROUND, self.terms(name, sharing))
        return self.devices[name].deliver(1, ROUND, vector, self.bits)

    def opened(self, name, sharing, delivered):
        asked = Unmask(
            delivered=[peer for peer in self.graph[name] if peer in delivered],
            lost=[peer for peer in self.graph[name] if peer in sharing and peer not in delivered],
        )
        return self.devices[name].open(1, ROUND, asked)


@given(
    bits=st.sampled_from([32, 64]),
    degree=st.sampled_from([0, 4]),
    silent=st.sets(st.integers(0, 5), max_size=1),
    lost=st.sets(st.integers(0, 5), max_size=1),
    mute=st.sets(st.integers(0, 5), max_size=1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_masks_cancel_for_whoever_drops_out(bits, degree, silent, lost, mute, seed):
    crew = Crew(6, degree, bits)
    source = np.random.default_rng(seed)
    vectors = {n: source.integers(0, 1 << bits, LENGTH, dtype=f"u{bits // 8}") for n in crew.names}
    sharing = crew.sharing({f"d{number}" for number in silent})
    delivered = [name for name in sharing if int(name[1:]) not in lost]
    answers, total, true = [], np.zeros(LENGTH, f"u{bits // 8}"), np.zeros(LENGTH, f"u{bits // 8}")
    try:
        for name in sharing:
            masked = crew.deliver(name, sharing, vectors[name])
            if name in delivered:
                assert not np.array_equal(masked, vectors[name])
                total, true = total + masked, true + vectors[name]
        answers = [crew.opened(name, sharing, delivered) for name in delivered if int(name[1:]) not in mute]
        found = unmask(
            total, round_=ROUND, bits=bits, keys=crew.keys, graph=crew.graph, sharing=sharing, delivered=delivered,
            opened=source.permutation(np.array(answers, dtype=object)), threshold=crew.threshold,
        )  # fmt: skip
    except (RefusedError, TransportError):
        # below the threshold nothing is opened; with at most one loss on the whole graph it must not come to that
        assert degree or len(silent | lost | mute) > 1
        return
    assert np.array_equal(found, true)


def test_too_few_shares_open_nothing():
    crew = Crew(6, 0, 32)
    vectors = {name: np.full(LENGTH, 7, np.uint32) for name in crew.names}
    total = sum(crew.deliver(name, crew.names, vectors[name]) for name in crew.names)
    answers = [crew.opened(name, crew.names, crew.names) for name in crew.names[: crew.threshold]]
    with pytest.raises(TransportError):  # the first device's own seed has shares of threshold − 1 others
        unmask(
            total, round_=ROUND, bits=32, keys=crew.keys, graph=crew.graph, sharing=crew.names,
            delivered=crew.names, opened=answers, threshold=crew.threshold,
        )  # fmt: skip


@given(neighbours_=st.integers(0, 40), threshold=st.integers(-3, 60))
def test_two_secrets_of_a_device_take_more_neighbours_than_it_has(neighbours_, threshold):
    try:
        check_threshold(threshold, neighbours_)
    except RefusedError:
        return
    assert 2 * threshold > neighbours_ >= threshold


@given(share=st.floats(0.5, 0.999), held=st.integers(2, 500))
def test_the_terms_never_ask_for_a_threshold_that_devices_refuse(share, held):
    check_threshold(Private(threshold=share).shares(held), held)


def test_a_device_opens_once_and_delivers_once():
    crew = Crew(4, 0, 32)
    vector = np.zeros(LENGTH, np.uint32)
    for name in crew.names:
        crew.deliver(name, crew.names, vector)
    with pytest.raises(RefusedError):
        crew.devices["d0"].deliver(1, ROUND, vector, 32)
    with pytest.raises(RefusedError):  # one device cannot be both
        crew.devices["d0"].open(1, ROUND, Unmask(delivered=["d1", "d2", "d3"], lost=["d1"]))
    crew.opened("d0", crew.names, crew.names)
    with pytest.raises(RefusedError):
        crew.devices["d0"].open(1, ROUND, Unmask(delivered=["d1", "d2"], lost=["d3"]))


@given(
    values=st.lists(st.floats(-3, 3), min_size=1, max_size=20),
    weights=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    reach=st.floats(0.01, 2.0),
)
def test_a_mean_of_rounded_values_is_within_half_a_step(values, weights, reach):
    grid = Grid(reach=reach, bits=width_for(sum(weights)))
    parts = [np.array(values) * (1 - number / 10) for number in range(len(weights))]
    total = sum(grid.quantise(part, weight) for part, weight in zip(parts, weights, strict=True))
    mean = grid.whole(total) * grid.step / sum(weights)
    clipped = [np.clip(part, -reach, reach) * weight for part, weight in zip(parts, weights, strict=True)]
    assert np.abs(mean - sum(clipped) / sum(weights)).max() <= grid.step / 2 * (1 + 1e-9)


@given(size=st.integers(3, 40), half=st.integers(1, 10), seed=st.integers(0, 99))
def test_the_graph_is_symmetric_regular_and_a_function_of_its_arguments(size, half, seed):
    names = [f"d{number}" for number in range(size)]
    graph = neighbours(names, 2 * half, seed=seed, round_=1)
    assert all(name in graph[peer] for name in names for peer in graph[name])
    assert {len(peers) for peers in graph.values()} == {min(2 * half, size - 1)}
    assert all(name not in peers and len(set(peers)) == len(peers) for name, peers in graph.items())
    assert graph == neighbours(list(reversed(names)), 2 * half, seed=seed, round_=1)


def test_streams_of_other_seeds_purposes_and_rounds_are_strangers():
    streams = [mask(seed, purpose, 64, 64) for seed in (b"a", b"b") for purpose in ("own 1", "own 2", "pair 1")]
    assert len({stream.tobytes() for stream in streams}) == 6
    assert np.array_equal(streams[0], mask(b"a", "own 1", 64, 64))


def test_noise_is_standard_normal():
    noise = gaussian(b"key", "central", 200_001)
    assert len(noise) == 200_001 and np.isfinite(noise).all()
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1 and abs(np.mean(np.abs(noise) < 1) - 0.6827) < 0.005


def test_the_modulus_is_wide_enough():
    assert width_for(65_535) == 32 and width_for(65_536) == 64
    heaviest = Grid(reach=1.0, bits=32).quantise(np.array([1.0, -1.0]), 65_535)
    assert Grid(reach=1.0, bits=32).whole(heaviest).tolist() == [65_535 * STEPS, -65_535 * STEPS]
