"""Bytes from outside become messages, or a ContractError."""

import msgspec
import pytest

from shared.codec import MAX_MESSAGE, pack, unpack
from shared.errors import ContractError
from shared.messages import Ack, Want
from shared.topics import Up


def test_a_message_comes_back() -> None:
    ack = Ack(boot="b", channel=Up.DRIFT, seq=7)
    assert unpack(pack(ack), Ack) == ack


def test_an_unknown_field_of_a_newer_peer_is_left_out() -> None:
    newer = msgspec.msgpack.encode({"digest": "d", "indices": [1], "priority": 9})
    assert unpack(newer, Want) == Want(digest="d", indices=[1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"digest": "d"}),
        msgspec.msgpack.encode({"digest": 1, "indices": []}),
        msgspec.msgpack.encode({"digest": "d", "indices": ["1"]}),
        msgspec.msgpack.encode({"digest": "d", "indices": []}) + b"\x00",
        b"\x82\xa6digest\xa1\xff\xa7indices\x90",
    ],
    ids=["empty", "reserved byte", "missing field", "wrong type", "wrong item", "trailing byte", "bad utf-8"],
)
def test_what_breaks_the_contract_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match="no Want"):
        unpack(data, Want)


def test_size_is_checked_before_anything_is_parsed() -> None:
    with pytest.raises(ContractError, match="over the limit"):
        unpack(b"\x00" * (MAX_MESSAGE + 1), Want)


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    with pytest.raises(ContractError):
        unpack(b"\x91" * 100_000 + b"\x90", object)
