import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.relay.frames import (
    LENGTH,
    MAX_REQUEST,
    MOST,
    Has,
    answer_head,
    check_length,
    decode_answer,
    decode_request,
    encode_request,
    read_frame,
)
from shared.errors import ContractError

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.lists(digests, min_size=1, max_size=MOST))
def test_a_request_says_what_it_was_made_of(asked):
    frame = encode_request(asked)
    assert check_length(frame[:LENGTH], most=MAX_REQUEST) == len(frame) - LENGTH
    assert decode_request(frame[LENGTH:]) == asked


@given(st.binary(max_size=3 * 32))
def test_any_bytes_are_a_request_of_whole_digests_or_refused(body):
    try:
        asked = decode_request(body)
    except ContractError:
        return
    assert encode_request(asked)[LENGTH:] == body


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x02" + bytes(32), b"\x01" + bytes(31), b"\x01" + bytes(32 * 65)])
def test_what_is_no_request_is_refused(body):
    with pytest.raises(ContractError):
        decode_request(body)


@given(st.sampled_from(Has), st.binary(max_size=100))
def test_an_answer_says_what_it_was_made_of(has, data):
    data = data if has is Has.HERE else b""
    frame = answer_head(has, len(data)) + data
    assert check_length(frame[:LENGTH], most=101) == len(frame) - LENGTH
    assert decode_answer(frame[LENGTH:]) == (has, data)


@pytest.mark.parametrize("body", [b"", b"\x03", b"\xff" * 9, b"\x00x", b"\x01x"])
def test_what_is_no_answer_is_refused(body):
    with pytest.raises(ContractError):
        decode_answer(body)


@pytest.mark.parametrize("length", [0, 101, 1 << 31])
async def test_a_frame_of_the_wrong_length_is_not_read(length):
    reader = asyncio.StreamReader()
    reader.feed_data(length.to_bytes(LENGTH) + b"x" * 200)
    with pytest.raises(ContractError):
        await read_frame(reader, most=100)
    assert await reader.readexactly(200) == b"x" * 200


async def test_frames_are_read_one_by_one_and_an_end_in_the_middle_shows():
    reader = asyncio.StreamReader()
    reader.feed_data(b"\x00\x00\x00\x02ab\x00\x00\x00\x01c\x00\x00\x00\x09d")
    reader.feed_eof()
    assert [await read_frame(reader, most=9), await read_frame(reader, most=9)] == [b"ab", b"c"]
    with pytest.raises(asyncio.IncompleteReadError):
        await read_frame(reader, most=9)
