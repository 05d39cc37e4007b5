from random import Random

import pytest

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.encoded import Encoded
from cloud.distribution.layouts import EvenLayouts, Layout, MemoryLayouts, Place
from cloud.distribution.schedule import Key
from shared.bundle import CHUNK_SIZE, split
from shared.errors import FaultError
from shared.forms import decode
from shared.ids import Digest, sha256

OLD = Random(1).randbytes(10_000)
NEW = bytes(byte + 1 & 255 for byte in OLD[:9_000]) + OLD[9_000:]


@pytest.fixture
def store():
    blobs, layouts = MemoryBlobs(), MemoryLayouts()
    for data in (OLD, NEW):
        layouts.add(blobs.put(data), split(data, 3_000))
    return Encoded(blobs, layouts, kept=12_000)


def key(index, **fields):
    return Key(sha256(NEW), index, **fields)


def delta(index):
    return key(index, form="d-" + sha256(OLD)[:16], base=sha256(OLD))


def test_plain_chunks_lie_where_the_manifest_says(store):
    assert store.chunks(sha256(NEW)) == 4
    assert store.message(key(1)) == NEW[3_000:6_000]
    assert store.message(key(3)) == NEW[9_000:]
    assert store.message(key(4)) == b""


def test_a_difference_is_taken_from_the_counterpart(store):
    message = store.message(delta(1))
    assert len(message) < 100
    assert decode(message, size=3_000, read=lambda offset, size: OLD[offset : offset + size]) == NEW[3_000:6_000]


def test_without_the_base_the_chunk_comes_otherwise(store):
    unknown = key(1, form="d-" + "0" * 16, base="0" * 64)
    assert decode(store.message(unknown), size=3_000) == NEW[3_000:6_000]


def test_what_was_made_is_kept_within_a_bound(store):
    packed = [key(index, form="z") for index in range(4)]
    made = [store.message(each) for each in packed]
    assert [store.message(each) for each in packed] == made
    assert store.kept == sum(map(len, made))
    for index in range(4):
        store.message(key(index, form="z", base="0" * 64))
        assert store.kept <= 12_000


def test_an_unknown_blob_has_no_chunks(store):
    assert store.chunks(sha256(b"unknown")) == 0
    assert store.message(Key(sha256(b"unknown"), 0)) == b""


def test_a_blob_that_is_shorter_than_its_manifest_says_is_a_fault():
    blobs, layouts = MemoryBlobs(), MemoryLayouts()
    layouts.add(blobs.put(OLD), split(OLD + b"more", 3_000))
    with pytest.raises(FaultError, match="ends before"):
        Encoded(blobs, layouts).message(Key(sha256(OLD), 3))


def test_even_layouts_are_what_split_gives():
    blobs, data = MemoryBlobs(), bytes(2 * CHUNK_SIZE + 5)
    assert EvenLayouts(blobs).layout(sha256(data)) is None
    assert EvenLayouts(blobs).layout(blobs.put(data)) == Layout.of(split(data))
    assert len(Layout.of([])) == 0


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ([10, 20, 30], Place(10, 20)),  # same number, same size
        ([20, 10, 20], Place(0, 20)),  # nearest of its size
        ([1, 1, 10, 20, 20], Place(12, 20)),
        ([5, 5, 7], Place(10, 7)),  # none of its size: what lies at its place
        ([5, 5], None),  # nothing lies there
    ],
)
def test_the_counterpart_of_a_chunk(base, found):
    layout = Layout(tuple(sum(base[:number]) for number in range(len(base) + 1)))
    assert layout.counterpart(Place(10, 20), 1) == found


def test_places_within_and_without():
    layout = Layout((0, 5, 9))
    assert [layout.place(index) for index in (-1, 0, 1, 2)] == [None, Place(0, 5), Place(5, 4), None]
    assert MemoryLayouts().layout(Digest("x")) is None
