"""The written-out gradients against autograd's, in double precision."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from shared.tasks.stacked_convolutions import LANES, convolution, padding_of
from shared.tasks.stacked_layers import Own

CLIENTS, BATCH = 3, 2


def assert_gradients(layer, shape, channels, outputs):
    """Every client's convolution and its gradients, one client at a time by torch itself."""
    torch.manual_seed(1)
    kernel = layer.kernel_size
    x = torch.randn(CLIENTS, BATCH, channels, *shape, dtype=torch.float64)
    weight = torch.randn(CLIENTS, outputs, channels, *kernel, dtype=torch.float64)
    bias = torch.randn(CLIENTS, outputs, dtype=torch.float64)
    of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
    stacked = convolution(layer, x.shape, Own(weight, bias, of_weight, of_bias))
    stacked.forward(torch.randn_like(x))  # what a step leaves behind must not matter to the next
    stacked.backward(torch.randn(stacked.shape, dtype=torch.float64), True)
    made = stacked.forward(x).clone()
    towards = torch.randn_like(made)
    of_x = stacked.backward(towards, True)
    apply = nn.functional.conv1d if isinstance(layer, nn.Conv1d) else nn.functional.conv2d
    for client in range(CLIENTS):
        leaves = [values[client].clone().requires_grad_() for values in (x, weight, bias)]
        alone = apply(*leaves, layer.stride, layer.padding, layer.dilation)
        torch.testing.assert_close(made[client], alone)
        wanted = torch.autograd.grad(alone, leaves, towards[client])
        for ours, theirs in zip((of_x, of_weight, of_bias), wanted, strict=True):
            torch.testing.assert_close(ours[client], theirs)


@pytest.mark.parametrize(("channels", "outputs"), [(LANES, LANES), (2, 3)], ids=["grouped", "by windows"])
@settings(max_examples=25, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.sampled_from([(1, 1), (1, 2), (2, 2)]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_convolutions_of_any_geometry(channels, outputs, kernel, stride, padding, dilation, shape):
    for size, width, around, across in zip(shape, kernel, padding, dilation, strict=True):
        assume(size + 2 * around > across * (width - 1))
    layer = nn.Conv2d(channels, outputs, kernel, stride, padding, dilation)
    assert_gradients(layer, shape, channels, outputs)


@pytest.mark.parametrize(("channels", "outputs"), [(LANES, 2 * LANES), (6, 5)])
@pytest.mark.parametrize("padding", [2, "same", "valid"])
def test_one_dimension(channels, outputs, padding):
    assert_gradients(nn.Conv1d(channels, outputs, 5, padding=padding), (12,), channels, outputs)


def test_a_window_of_even_width_has_no_middle():
    with pytest.raises(ValueError, match="both ends"):
        padding_of(nn.Conv1d(1, 1, 4, padding="same"))
