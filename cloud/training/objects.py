"""A message as Flower's SuperLink keeps it, a tree of objects, and back, with one copy of its arrays.

    Message → RecordDict → {ArrayRecord → Array → chunks, ConfigRecord, MetricRecord}

Each object is a head (kind, names of its children, length), a zero byte and a body; it is named by its SHA-256, and
its chunks are 5 MiB. Flower's own client fetches all of them, joins them and inflates the result: four models at a time
for a reply of one. Here chunks go one after the other to where the array will lie.

The one module that uses Flower's inflatable objects privately on this side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message
from flwr.app.message import array as flwr_array
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_body,
    get_object_head_values_from_object_content,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.message import DecodeError

from shared.errors import ContractError

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
"""Each piece exists five times over while it is on its way; Flower's own are 5 MiB."""

flwr_array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE = CHUNK_BYTES

LANES = 2
"""Objects under way at a time: while one is computed on, the other travels."""

_CHUNKS = 4
"""Steps from a message to the chunks of its arrays."""

_DIVIDER = b"\0"


def take_apart(messages: Iterable[Message]) -> tuple[list[ObjectTree], dict[str, InflatableObject]]:
    """Name the messages by their content; return their trees, and their objects by name, not yet encoded."""
    trees, objects = [], {}
    with no_object_id_recompute():
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            objects.update(get_all_nested_objects(message))
            trees.append(get_object_tree(message))
    return trees, objects


def put_together(tree: ObjectTree, pull: Callable[[str], bytes], *, most: int) -> Message:
    """Fetch a message's objects; its arrays' bytes are views of memory of their own.

    Args:
        tree: the names of the objects.
        pull: fetches one of them; called from several threads.
        most: bytes that one array may have.

    Raises:
        ContractError: the objects are no message, or an array is larger than `most`.
    """
    contents = dict(in_lanes(lambda name: (name, pull(name)), dict.fromkeys(_names(tree, _CHUNKS))))
    try:
        made: dict[str, InflatableObject] = {}
        for name, content in contents.items():
            if _kind(content) == Array.__qualname__:
                made[name] = _array(content, pull, most)
        for name, content in contents.items():
            if _kind(content) == ArrayRecord.__qualname__:
                made[name] = _record(content, made)
        message = cast(Message, inflate_object_from_contents(tree.object_id, contents, objects=made))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, DecodeError) as error:
        raise ContractError(f"these objects are no message: {error}"[:300]) from error
    return message


def in_lanes(work: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
    """Do the work for each name, `LANES` at a time and never further ahead; results come in the order of the names."""
    pool = ThreadPoolExecutor(LANES, thread_name_prefix="objects")
    ahead: list[Future[T]] = []
    try:
        for name in names:
            if len(ahead) == LANES:
                yield ahead.pop(0).result()
            ahead.append(pool.submit(work, name))
        while ahead:
            yield ahead.pop(0).result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _names(tree: ObjectTree, levels: int) -> Iterator[str]:
    """The tree's names down to so many levels."""
    if levels:
        yield tree.object_id
        for child in tree.children:
            yield from _names(child, levels - 1)


def _kind(content: bytes) -> str:
    return str(get_object_head_values_from_object_content(content)[0])


def _array(content: bytes, pull: Callable[[str], bytes], most: int) -> Array:
    children = get_object_head_values_from_object_content(content)[1]
    said = json.loads(get_object_body(content, Array))
    names = [children[index] for index in said["arraychunk_ids"]]
    array = Array(str(said["dtype"]), tuple(map(int, said["shape"])), str(said["stype"]), b"")
    room, used = np.empty(0, dtype=np.uint8), 0
    for chunk in in_lanes(pull, names):
        begin = chunk.index(_DIVIDER) + 1
        if not used:  # all chunks but the last are as long as the first
            room = np.empty(min((len(chunk) - begin) * len(names), most), dtype=np.uint8)
        end = used + len(chunk) - begin
        if end > room.size:
            raise ContractError(f"an array of more than {room.size} bytes")
        room[used:end] = np.frombuffer(chunk, dtype=np.uint8, offset=begin)
        used = end
        del chunk  # before the next one comes
    array.data = room[:used].data.toreadonly()
    return array


def _record(content: bytes, arrays: dict[str, InflatableObject]) -> ArrayRecord:
    record = ArrayRecord()
    for name, array in json.loads(get_object_body(content, ArrayRecord)).items():
        record[str(name)] = cast(Array, arrays[array])
    return record
