import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared.codec import pack
from shared.errors import ContractError
from shared.tasks.compression import BLOCK, Compression, Kind, Packed, compress, decompress

INT8, TOP_K = Compression(kind=Kind.INT8), Compression(kind=Kind.TOP_K)
KINDS = (Kind.INT8, Kind.TOP_K)
finite = st.floats(-1e3, 1e3, width=32)
vectors = st.integers(1, 700).flatmap(
    lambda n: st.lists(hnp.arrays(np.float32, n, elements=finite), min_size=1, max_size=5)
)


@given(changes=vectors, kind=st.sampled_from(KINDS), share=st.floats(0.001, 1.0), seed=st.integers(0, 2**63 - 1))
def test_what_was_sent_and_what_is_left_is_what_was_learnt(changes, kind, share, seed):
    residual = np.zeros_like(changes[0])
    sent = np.zeros(len(residual), dtype=np.float64)
    for number, change in enumerate(changes):
        data, residual = compress(change, residual, compression=Compression(kind=kind, share=share), seed=seed + number)
        sent += decompress(data, compression=Compression(kind=kind), length=len(change))
    learnt = np.sum(changes, axis=0, dtype=np.float64)
    scale = 1.0 + max(float(np.abs(change).max()) for change in changes) * len(changes)
    assert np.abs(sent + residual - learnt).max() <= 1e-6 * scale * len(changes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_arguments_give_the_same_bytes(kind):
    change = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    nothing = np.zeros_like(change)
    one, two = (compress(change, nothing, compression=Compression(kind=kind, share=0.1), seed=9) for _ in range(2))
    assert one[0] == two[0]
    assert np.array_equal(one[1], two[1])


def test_bytes_on_the_wire():
    change = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    sizes = {
        kind: len(compress(change, np.zeros_like(change), compression=Compression(kind=kind, share=0.01), seed=1)[0])
        for kind in KINDS
    }
    assert change.nbytes / sizes[Kind.INT8] > 3.9
    assert change.nbytes / sizes[Kind.TOP_K] > 49


def test_rounding_by_chance_keeps_the_mean():
    change = np.full(BLOCK, 0.3, dtype=np.float32)
    change[0] = 127.0  # the scale is 1
    nothing = np.zeros_like(change)
    means = [
        decompress(
            compress(change, nothing, compression=Compression(kind=Kind.INT8, share=1.0), seed=s)[0],
            compression=INT8,
            length=BLOCK,
        )[1:].mean()
        for s in range(50)
    ]
    assert abs(np.mean(means) - 0.3) < 0.02


def test_a_small_steady_change_arrives_in_the_end():
    change = np.full(100, 0.01, dtype=np.float32)
    change[0] = 1.0
    residual, arrived = np.zeros_like(change), np.zeros_like(change)
    for round_ in range(400):
        data, residual = compress(change, residual, compression=Compression(kind=Kind.TOP_K, share=0.02), seed=round_)
        arrived += decompress(data, compression=TOP_K, length=100)
    assert (arrived[1:] > 0).all()


def f4(*values):
    return np.array(values, dtype="<f4").tobytes()


def u4(*values):
    return np.array(values, dtype="<u4").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=1 << 40)), id="huge"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=-1)), id="negative"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=4, places=u4(4), values=f4(1))), id="outside"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=4, places=u4(1, 1), values=f4(1, 1))), id="twice"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=4, places=u4(3, 1), values=f4(1, 1))), id="disorder"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=4, places=b"\0", values=b"\0")), id="torn"),
        pytest.param(pack(Packed(kind=Kind.TOP_K, length=4, places=u4(1), values=f4(1, 2))), id="more values"),
        pytest.param(pack(Packed(kind=Kind.INT8, length=4, scales=f4(1), values=b"\0" * 5)), id="longer"),
        pytest.param(pack(Packed(kind=Kind.INT8, length=4, scales=f4(1, 1), values=b"\0" * 4)), id="scales"),
        pytest.param(pack(Packed(kind=Kind.NONE, length=4, values=f4(1, 2, 3, 4))), id="none"),
    ],
)
@pytest.mark.parametrize("compression", [INT8, TOP_K, Compression()], ids=lambda value: value.kind)
def test_what_is_no_compressed_update_is_refused(data, compression):
    with pytest.raises(ContractError):
        decompress(data, compression=compression, length=4)
