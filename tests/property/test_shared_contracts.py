"""The contracts hold for whatever comes, not only for the examples somebody thought of."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import bundle, messages, topics
from shared.codec import pack, unpack
from shared.errors import ContractError
from shared.ids import DeviceId, check_name, device_id, sha256
from shared.topics import Up

KINDS = [
    messages.Batch, messages.Ack, messages.Telemetry, messages.DriftReport,
    messages.UpdateStatus, messages.Want, messages.Desired, messages.Command,
]  # fmt: skip

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
devices = names.map(DeviceId).filter(lambda name: name not in {"coordinator", "superlink", "broker", "root"})
levels = st.text("ab", max_size=2)


@given(devices, st.sampled_from(Up))
def test_an_upward_topic_parses_to_what_built_it(device: DeviceId, channel: Up) -> None:
    assert topics.parse_up(topics.up(device, channel)) == (device, channel)


@given(st.binary(), st.integers(0, 9_999_999))
def test_a_chunk_topic_parses_to_what_built_it(data: bytes, index: int) -> None:
    assert topics.parse_chunk(topics.chunk(sha256(data), index)) == (sha256(data), index)


@given(st.text())
def test_any_text_is_a_topic_of_ours_or_a_contract_error(text: str) -> None:
    for parse in (topics.parse_up, topics.parse_chunk):
        try:
            parse(text)
        except ContractError:
            continue


@given(st.text())
def test_a_name_that_is_accepted_needs_no_escaping_anywhere(text: str) -> None:
    try:
        name = device_id(text)
    except ContractError:
        return
    assert re.fullmatch(r"[a-z0-9-]{1,63}", name)
    assert check_name(name) == text


@given(st.lists(levels | st.just("+"), min_size=1, max_size=4), st.booleans(), st.lists(levels, min_size=1, max_size=5))
def test_filters_match_like_a_reference_built_from_regular_expressions(
    filter_levels: list[str], open_end: bool, topic_levels: list[str]
) -> None:
    topic_filter = "/".join([*filter_levels, "#"] if open_end else filter_levels)
    pattern = "/".join("[^/]*" if level == "+" else level for level in filter_levels) + ("(/.*)?" if open_end else "")
    topic = "/".join(topic_levels)
    assert topics.matches(topic_filter, topic) == bool(re.fullmatch(pattern, topic))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_contract_error(kind: type, data: bytes) -> None:
    try:
        decoded = unpack(data, kind)
    except ContractError:
        return
    assert unpack(pack(decoded), kind) == decoded


@given(position=st.integers(0), value=st.integers(0, 255))
def test_a_message_with_one_byte_changed_is_a_message_or_a_contract_error(position: int, value: int) -> None:
    good = bytearray(
        pack(messages.Batch(boot="b", channel=Up.DRIFT, records=[messages.Record(seq=1, at=0.5, body=b"x")]))
    )
    good[position % len(good)] = value
    try:
        unpack(bytes(good), messages.Batch)
    except ContractError:
        return


@given(st.binary(max_size=200))
def test_random_bytes_are_a_document_or_a_contract_error(data: bytes) -> None:
    for decode in (bundle.decode_release, bundle.decode_desired):
        try:
            decode(data)
        except ContractError:
            continue


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_pieces_join_to_the_whole_and_match_their_chunks(data: bytes, size: int) -> None:
    pieces, chunks = list(bundle.pieces(data, size)), bundle.split(data, size)
    assert b"".join(pieces) == data
    assert [(sha256(piece), len(piece)) for piece in pieces] == [(chunk.digest, chunk.size) for chunk in chunks]
    assert all(chunk.size == size for chunk in chunks[:-1])
