import os
import threading
from itertools import permutations
from random import Random

import pytest

from edge.update.partial import PartialFile
from shared.bundle import Runtime, Variant, pieces, split
from shared.errors import FaultError, TrustError
from shared.ids import sha256
from shared.trust import read_proven

CHUNK = 1000
DATA = Random(1).randbytes(2500)


def variant_of(data, *, digest=None, size=None):
    return Variant(
        name="cpu.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=digest or sha256(data),
        size=size or len(data),
        chunks=split(data, CHUNK),
    )


PIECES = list(pieces(DATA, CHUNK))


@pytest.fixture
def partial(tmp_path):
    opened = PartialFile(tmp_path / "part", variant_of(DATA))
    yield opened
    opened.close()


def test_chunks_in_any_order_make_the_file(partial):
    assert (partial.missing, partial.received) == ([0, 1, 2], 0)
    assert [partial.accept(index, PIECES[index]) for index in (2, 0, 0, 1)] == [True, True, False, True]
    assert (partial.missing, partial.received) == ([], len(DATA))
    assert partial.finish().read_bytes() == DATA


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("cut", range(4))
def test_the_whole_is_right_whatever_order_and_restart_its_chunks_came_in(tmp_path, order, cut):
    for part in (order[:cut], order[cut:]):
        partial = PartialFile(tmp_path / "part", variant_of(DATA))
        assert all(partial.accept(index, PIECES[index]) for index in part)
        partial.close()
    assert PartialFile(tmp_path / "part", variant_of(DATA)).finish().read_bytes() == DATA


@pytest.mark.parametrize("wrong", [b"", PIECES[0], PIECES[1][:-1], PIECES[1] + b"x", bytes(CHUNK)])
def test_other_bytes_are_refused_and_not_written(partial, wrong):
    with pytest.raises(TrustError, match="chunk 1"):
        partial.accept(1, wrong)
    assert partial.missing == [0, 1, 2]
    assert partial.path.read_bytes() == bytes(len(DATA))


def test_what_was_written_is_found_again(partial, tmp_path):
    partial.accept(1, PIECES[1])
    partial.accept(2, PIECES[2])
    partial.close()
    again = PartialFile(tmp_path / "part", variant_of(DATA))
    assert again.missing == [0]
    again.close()


def test_what_a_power_cut_tore_is_asked_for_again(partial, tmp_path):
    for index, piece in enumerate(PIECES):
        partial.accept(index, piece)
    partial.close()
    torn = bytearray(DATA)
    torn[1500:2100] = bytes(600)
    (tmp_path / "part").write_bytes(torn)
    again = PartialFile(tmp_path / "part", variant_of(DATA))
    assert again.missing == [1, 2]
    again.close()


def test_a_longer_file_is_cut(tmp_path):
    (tmp_path / "part").write_bytes(DATA + b"tail")
    partial = PartialFile(tmp_path / "part", variant_of(DATA))
    assert partial.finish().read_bytes() == DATA


def test_a_manifest_that_contradicts_itself_is_found_before_anything_is_loaded(tmp_path):
    variant = variant_of(DATA, digest=sha256(b"other"))
    partial = PartialFile(tmp_path / "part", variant)
    for index, piece in enumerate(PIECES):
        partial.accept(index, piece)
    with pytest.raises(TrustError, match="altered"):
        read_proven(partial.finish(), variant)


def test_no_room_is_said_before_anything_is_fetched(tmp_path):
    with pytest.raises(FaultError, match="MiB are free"):
        PartialFile(tmp_path / "part", variant_of(DATA, size=1 << 60))
    assert not (tmp_path / "part").exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "part").symlink_to(tmp_path / "victim")
    with pytest.raises(FaultError):
        PartialFile(tmp_path / "part", variant_of(DATA))
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_full_disk_gives_its_space_back(tmp_path):
    partial = PartialFile(tmp_path / "part", variant_of(DATA))
    os.close(partial._file)
    partial._file = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(FaultError, match="No space"):
        partial.accept(0, PIECES[0])
    assert not (tmp_path / "part").exists()


def test_nothing_is_lacking_only_once_the_last_chunk_is_written(partial, monkeypatch):
    """Chunks come in a thread of their own: who sees in another one that the file is complete finishes it."""
    seen, write = [], os.pwrite

    def watched(*args):
        seen.append(partial.complete)
        return write(*args)

    monkeypatch.setattr(os, "pwrite", watched)
    for index in (1, 0, 2):
        partial.accept(index, PIECES[index])
    assert seen == [False] * 3
    assert partial.complete


def test_closing_waits_for_the_thread_that_writes(partial, monkeypatch):
    """Else the number of the closed file could be another file's by the time the bytes are written."""
    writing, go_on, write, wrote = threading.Event(), threading.Event(), os.pwrite, []

    def slow(file, data, offset):
        writing.set()
        assert go_on.wait(5)
        wrote.append(os.path.samestat(os.fstat(file), partial.path.stat()))
        return write(file, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    accepting = threading.Thread(target=partial.accept, args=(0, PIECES[0]))
    closing = threading.Thread(target=partial.close)
    accepting.start()
    assert writing.wait(5)
    closing.start()
    closing.join(0.05)
    assert not partial.closed
    go_on.set()
    accepting.join(5)
    closing.join(5)
    assert wrote == [True]
    assert partial.closed
    assert partial.missing == [1, 2]


def test_a_chunk_after_the_end_is_not_taken(partial):
    partial.close()
    assert partial.accept(0, PIECES[0]) is False
    assert partial.path.exists()
