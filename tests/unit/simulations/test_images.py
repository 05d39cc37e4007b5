"""Fashion-MNIST's files and its uneven shares."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import FaultError
from shared.task import Examples
from simulations.images import dirichlet_shares, read_images


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def test_reading_scales_pixels(tmp_path):
    (tmp_path / "x").write_bytes(idx(np.full((3, 28, 28), 255)))
    (tmp_path / "y").write_bytes(idx(np.array([1, 2, 9])))
    found = read_images(tmp_path / "x", tmp_path / "y")
    assert found.x.shape == (3, 1, 28, 28)
    assert found.x.max() == 1.0
    assert found.y.tolist() == [1, 2, 9]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(gzip.compress(b"\x01\x02\x03\x04"))
    with pytest.raises(FaultError, match="no images"):
        read_images(tmp_path / "x", tmp_path / "x")


@given(devices=st.integers(1, 8), alpha=st.floats(0.05, 50), seed=st.integers(0, 2**16))
def test_shares_are_disjoint_and_together_what_was_asked(devices, alpha, seed):
    examples = Examples(np.arange(400, dtype=np.float32).reshape(400, 1), np.arange(400) % 10)
    shares = dirichlet_shares(examples, devices=devices, images=300, alpha=alpha, seed=seed)
    again = dirichlet_shares(examples, devices=devices, images=300, alpha=alpha, seed=seed)
    assert len(shares) == devices
    for share, same in zip(shares, again, strict=True):
        assert np.array_equal(share.training.x, same.training.x)
        mine = np.concatenate([share.training.x, share.holdout.x])[:, 0].tolist()
        assert len(share.holdout) >= 2
        assert len(mine) >= 10
        assert not set(share.training.x[:, 0].tolist()) & set(share.holdout.x[:, 0].tolist())
    assert sum(len(s.training) + len(s.holdout) for s in shares) >= 300


def test_small_alpha_is_uneven():
    examples = Examples(np.zeros((4000, 1), np.float32), np.arange(4000) % 10)

    def spread(alpha):
        shares = dirichlet_shares(examples, devices=6, images=4000, alpha=alpha, seed=3)
        return np.std([np.bincount(s.training.y, minlength=10) / len(s.training) for s in shares])

    assert spread(0.1) > 3 * spread(100.0)
