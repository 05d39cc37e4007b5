import msgspec
import numpy as np
import pytest

from edge.training.client import holdings_of
from edge.training.secagg import prepare
from shared.errors import ContractError, RefusedError
from shared.masking import STEPS, Grid
from shared.secagg import LOSS_REACH, TAIL, Masked
from shared.task import Examples, Trained

MODEL = {"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.float32)}
STAGE = Masked(sealed={}, reach=1.0, bits=32, most=50)


def trained(value, examples=20, loss=2.0):
    weights = {name: np.full_like(values, value) for name, values in MODEL.items()}
    return Trained(weights=weights, examples=examples, loss=loss)


def read(vector, stage=STAGE):
    whole = Grid(reach=stage.reach, bits=stage.bits).whole(vector)
    return whole[:-TAIL] * stage.reach / STEPS, whole[-TAIL], whole[-1]


def test_the_weight_and_the_loss_are_in_the_vector():
    update, weight, loss = read(prepare(MODEL, trained(0.25), STAGE))
    assert update == pytest.approx(np.full(7, 0.25 * 20), abs=1e-3)
    assert weight == 20 and loss / STEPS * LOSS_REACH / 20 == pytest.approx(2.0, abs=1e-3)


def test_a_device_weighs_no_more_than_it_registered_and_no_value_passes_the_reach():
    update, weight, _ = read(prepare(MODEL, trained(-9.0, examples=400), STAGE))
    assert weight == 50 and update == pytest.approx(np.full(7, -50.0))


def test_under_noise_all_weigh_the_same_within_the_bound_and_tell_no_loss():
    stage = msgspec.structs.replace(STAGE, clip=0.5)
    update, weight, loss = read(prepare(MODEL, trained(0.9), stage))
    assert np.linalg.norm(update) == pytest.approx(0.5, abs=1e-3)
    assert (weight, loss) == (1, 0)


def test_local_noise_differs_each_time():
    stage = msgspec.structs.replace(STAGE, clip=0.5, noise=0.1)
    assert not np.array_equal(prepare(MODEL, trained(0.9), stage), prepare(MODEL, trained(0.9), stage))


def test_what_cannot_be_added_up_is_not_sent():
    with pytest.raises(RefusedError):
        prepare(MODEL, trained(np.nan), STAGE)
    for wrong in ({"bits": 16}, {"reach": 0.0}, {"reach": float("nan")}, {"most": 0}, {"clip": -1.0}):
        with pytest.raises(ContractError):
            prepare(MODEL, trained(0.1), msgspec.structs.replace(STAGE, **wrong))


def test_holdings_tell_counts_and_nothing_of_the_inputs():
    part = Examples(np.full((4, 3, 2), 9.0, np.float32), np.zeros(4, np.int64))
    answer = holdings_of(part, part)
    assert (answer.training, answer.count, answer.total, answer.square) == (4, 4, [0.0] * 3, [4.0] * 3)
