"""One loop on every device: the CPU's bits stay, mixed precision learns, and everything goes where it should."""

import numpy as np
import pytest
import torch

from shared.errors import RefusedError
from shared.task import Examples, Moments, Recipe
from shared.task_compute import Compute, Place, Precision
from shared.tasks import adapter, network
from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
from shared.tasks.placement import FIRST_SCALE, GROWTH_STEPS, LossScale, accelerators, batches_at, settle
from shared.tasks.weights import weights_digest

TASK = adapter("activity")


def examples(count=70, seed=0):
    source = np.random.default_rng(seed)
    y = source.integers(0, len(TASK.labels), count)
    x = source.normal(size=(count, *TASK.input_shape)) + y.reshape(-1, 1, 1)
    return Examples(x.astype(np.float32), y.astype(np.int64))


def first():
    return TASK.initial(seed=3, moments=Moments(count=4, total=np.full(6, 4.0), square=np.full(6, 60.0)))


def recipe(epochs=2, **fields):
    return Recipe(epochs=epochs, batch_size=16, learning_rate=0.02, seed=11, **fields)


def plain(weights, data, wanted):
    """Momentum and clipping written down once more, for a CPU and nothing else."""
    torch.manual_seed(wanted.seed)
    module = TASK.build()
    module.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in weights.items()})
    parameters = list(module.parameters())
    moving = [torch.zeros_like(p) for p in parameters]
    order = np.random.Generator(np.random.PCG64(wanted.seed))
    for _ in range(wanted.epochs):
        for chosen in batches(order, len(data), wanted.batch_size):
            x, y = torch.from_numpy(data.x[chosen]), torch.from_numpy(data.y[chosen])
            gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(module(x), y), parameters)
            with torch.no_grad():
                norm = float(torch.sqrt(torch.stack([(g * g).sum() for g in gradients]).sum()))
                for p, v, g in zip(parameters, moving, gradients, strict=True):
                    v.mul_(MOMENTUM).add_(g, alpha=min(1.0, CLIP / (norm + 1e-12))).add_(p, alpha=WEIGHT_DECAY)
                    p.add_(v, alpha=-wanted.learning_rate)
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_on_a_cpu_the_choice_changes_no_bit(device):
    if accelerators() and device == "auto":
        pytest.skip("this machine has a GPU, and auto takes it")
    trained = TASK.on(Compute(device=device)).train(first(), examples(), recipe()).weights
    assert weights_digest(trained) == weights_digest(plain(first(), examples(), recipe()))


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.FLOAT16])
def test_mixed_precision_learns_as_float32_does_and_repeats_itself(precision):
    data, mixed = examples(), TASK.on(Compute(precision=precision))
    one, two = (mixed.train(first(), data, recipe(epochs=8)) for _ in range(2))
    whole = TASK.train(first(), data, recipe(epochs=8))
    assert weights_digest(one.weights) == weights_digest(two.weights) != weights_digest(whole.weights)
    assert all(values.dtype == np.float32 for values in one.weights.values())
    scores = [TASK.evaluate(trained.weights, data) for trained in (one, whole)]
    assert abs(scores[0].correct - scores[1].correct) <= 5
    assert scores[0].loss_sum < 0.8 * TASK.evaluate(first(), data).loss_sum
    assert scores[0].loss_sum == pytest.approx(scores[1].loss_sum, rel=0.05)


def test_hold_outs_are_scored_in_float32_whatever_training_multiplies_in():
    x = examples().x
    assert (TASK.on(Compute(precision=Precision.BFLOAT16)).logits(first(), x) == TASK.logits(first(), x)).all()


def test_a_step_that_overflows_is_left_out_and_halves_the_scale():
    scale = LossScale(Precision.FLOAT16)
    loss = torch.tensor(2.0)
    assert float(scale.up(loss)) == 2.0 * FIRST_SCALE
    assert scale.down([torch.tensor([1.0]), torch.tensor([np.inf])]) is None
    assert scale.value == FIRST_SCALE / 2
    (true,) = scale.down([torch.tensor([FIRST_SCALE])])
    assert float(true) == 2.0
    for _ in range(GROWTH_STEPS - 1):
        scale.down([torch.tensor([1.0])])
    assert scale.value == FIRST_SCALE


def test_overflowing_steps_are_not_counted(monkeypatch):
    monkeypatch.setattr("shared.tasks.placement.FIRST_SCALE", 2.0**140)
    trained = TASK.on(Compute(precision=Precision.FLOAT16)).train(first(), examples(), recipe(epochs=1))
    assert trained.steps == 0
    assert weights_digest(trained.weights) == weights_digest(first())


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_the_other_numbers_are_not_scaled(precision):
    scale, loss, gradient = LossScale(precision), torch.tensor(2.0), torch.tensor([np.inf])
    assert scale.up(loss) is loss
    assert scale.down([gradient]) == (gradient,)


@pytest.mark.parametrize("count", [1, 5, 32])
def test_batches_come_whole_and_in_order(count):
    data = examples(count)
    order = list(batches(np.random.default_rng(1), count, 4))
    came = list(batches_at(data, order, "cpu"))
    assert [chosen.tolist() for chosen, _, _ in came] == [chosen.tolist() for chosen in order]
    assert all((x.numpy() == data.x[c]).all() and (y.numpy() == data.y[c]).all() for c, x, y in came)


@pytest.mark.parametrize("fields", [{}, {"proximal": 0.1}, {"correction": True}])
def test_all_that_training_touches_is_on_the_device(monkeypatch, fields):
    """`meta` computes shapes on a device of its own and refuses tensors of another; only its numbers are missing."""
    place = Place(device="meta")
    met = []
    step = network._step

    def seen(parameters, velocity, gradients, rate, *, momentum, pull):
        met.append({t.device.type for t in (*parameters, *velocity, *gradients)})
        pulls = [pull(index) for index in range(len(parameters))]
        assert {pulled.device.type for pulled in pulls if pulled is not None} == ({"meta"} if fields else set())
        step(parameters, velocity, gradients, rate, momentum=momentum, pull=pull)

    monkeypatch.setattr(network, "_step", seen)
    if fields.get("correction"):
        fields = {"correction": {name: np.ones_like(values) for name, values in first().items()}}
    module = TASK._load(first(), seed=0).to("meta")
    with pytest.raises(RuntimeError, match="meta"):  # the first number that is asked for: the gradient's length
        network._descend(module, examples(), recipe(**fields), place)
    assert met == [{"meta"}]


@pytest.mark.skipif(bool(accelerators()), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said_and_not_replaced():
    with pytest.raises(RefusedError, match="0 GPUs"):
        TASK.on(Compute(device="cuda")).train(first(), examples(), recipe())
    with pytest.raises(RefusedError):
        TASK.on(Compute(device="cuda:1")).warm_up()
    assert settle(Compute(device="auto")) == Place()
