"""Where a machine computes, by what its owner wants and what it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RefusedError
from shared.task_compute import Accelerator, Compute, Place, Precision, choose, placed
from shared.tasks import adapter

TURING, AMPERE, PASCAL = Accelerator((7, 5)), Accelerator((8, 6)), Accelerator((6, 1))


@pytest.mark.parametrize(
    ("wanted", "gpus", "device", "precision"),
    [
        ("auto", (), "cpu", Precision.FLOAT32),
        ("cpu", (AMPERE,), "cpu", Precision.FLOAT32),
        ("auto", (AMPERE,), "cuda:0", Precision.BFLOAT16),
        ("cuda", (TURING, AMPERE), "cuda:0", Precision.FLOAT16),
        ("cuda:1", (TURING, AMPERE), "cuda:1", Precision.BFLOAT16),
        ("auto", (PASCAL,), "cuda:0", Precision.FLOAT32),
    ],
)
def test_the_machine_decides_what_is_left_open(wanted, gpus, device, precision):
    assert choose(Compute(device=wanted), gpus) == Place(device=device, precision=precision)


@pytest.mark.parametrize(
    ("wanted", "gpus"), [("cuda", ()), ("cuda:0", ()), ("cuda:1", (AMPERE,)), ("cuda:999", (AMPERE,))]
)
def test_a_gpu_that_is_named_and_missing_is_an_error(wanted, gpus):
    with pytest.raises(RefusedError, match=f"{len(gpus)} GPUs") as refused:
        choose(Compute(device=wanted), gpus)
    assert refused.value.hint


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:0x", "CPU", "cuda:1000", "auto "])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(RefusedError):
        choose(Compute(device=name), (AMPERE,))


@given(st.sampled_from(["auto", "cpu", "cuda:0"]), st.sampled_from(list(Precision)[1:]))
def test_a_precision_that_is_named_is_kept(device, precision):
    assert choose(Compute(device=device, precision=precision), (TURING,)).precision is precision


def test_families_that_compute_on_a_cpu_only_stay_there():
    wanted = Compute(device="cuda:3")
    assert placed(adapter("activity-linear"), wanted) is adapter("activity-linear")
    assert placed(adapter("activity"), wanted).compute == wanted
    assert adapter("activity").compute == Compute()
