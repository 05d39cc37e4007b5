from random import Random

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ContractError
from shared.forms import Piece, decode, encode, form_name

NOISE = Random(1).randbytes(4000)


def base_of(data):
    return lambda offset, length: data[offset : offset + length]


def int8_pair(size=1 << 16):
    """An int8 tensor before and after a small step of training."""
    random = np.random.default_rng(1)
    weights = random.standard_normal(size) * 30
    moved = weights + random.standard_normal(size) * 0.3
    return (np.clip(np.round(values), -127, 127).astype(np.int8).tobytes() for values in (weights, moved))


@given(st.binary(min_size=1, max_size=3000), st.binary(max_size=3000), st.integers(0, 50))
def test_every_form_brings_back_what_was_sent_and_none_is_larger(data, base, offset):
    piece = Piece(offset, base[offset : offset + len(data)])
    for message in (encode(data), encode(data, base=piece)):
        assert len(message) <= len(data) + 2
        assert decode(message, size=len(data), read=base_of(base)) == data


def test_noise_travels_as_it_is():
    assert encode(NOISE, base=Piece(0, NOISE[::-1])) == b"\x00\x01" + NOISE


def test_what_repeats_is_packed():
    assert len(encode(bytes(4000))) < 40


def test_a_small_step_of_an_int8_model_costs_a_quarter():
    before, after = int8_pair()
    message = encode(after, base=Piece(0, before))
    assert len(message) < 0.3 * len(after)
    assert len(encode(after)) > 0.8 * len(after)
    assert decode(message, size=len(after), read=base_of(before)) == after


def test_floats_are_packed_plane_by_plane():
    data = (np.random.default_rng(1).standard_normal(1 << 16) * 0.05).astype(np.float32).tobytes()
    message = encode(data)
    assert message[1] == 4
    assert len(message) < 0.9 * len(data)
    assert decode(message, size=len(data)) == data


def test_another_base_gives_other_bytes_which_the_digest_will_refuse():
    before, after = int8_pair()
    message = encode(after, base=Piece(0, before))
    assert decode(message, size=len(after), read=base_of(bytes(len(before)))) != after


def frame(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


DELTA = b"\x02\x01" + (0).to_bytes(8) + (100).to_bytes(4)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "0 bytes"),
        (b"\x00", "1 bytes"),
        (b"\x07\x01" + bytes(100), "form 7"),
        (b"\x00\x01" + bytes(99), "form 0"),
        (b"\x00\x01" + bytes(101), "form 0"),
        (b"\x00\x03" + bytes(100), "3 planes"),
        (b"\x01\x01" + bytes(30), "unpacked"),
        (b"\x01\x01" + frame(bytes(100))[:-2], "unpacked"),
        (b"\x01\x01" + frame(bytes(100)) + b"tail", "unpacked"),
        (b"\x01\x01" + frame(bytes(1 << 30)), "frame of 1073741824"),
        (b"\x01\x01" + frame(bytes(100), write_content_size=False), "frame of"),
        (DELTA, "form 2"),
        (DELTA + frame(bytes(100)), "nobody offered"),
    ],
)
def test_what_is_no_form_is_refused_before_it_takes_memory(message, said):
    with pytest.raises(ContractError, match=said):
        decode(message, size=100)


@pytest.mark.parametrize(
    ("offset", "length", "said"), [(0, 0, "nobody"), (0, 101, "nobody"), (50, 100, "not there"), (1 << 63, 1, "not th")]
)
def test_a_base_has_bounds(offset, length, said):
    message = b"\x02\x01" + offset.to_bytes(8) + length.to_bytes(4) + frame(bytes(100))
    with pytest.raises(ContractError, match=said):
        decode(message, size=100, read=base_of(bytes(120)))


def test_a_device_meets_others_that_read_the_same():
    digest = "ab" * 32
    assert form_name([], digest) == ""
    assert form_name(["z"], "") == "z"
    assert form_name(["z", "d"], "") == "z"
    assert form_name(["z", "d"], digest) == "d-" + "ab" * 8
    assert form_name(["later"], digest) == ""
    with pytest.raises(ContractError):
        form_name(["z", "d"], "+/#")
