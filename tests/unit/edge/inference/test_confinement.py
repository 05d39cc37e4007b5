"""The parts of the confinement by themselves: the filter as the kernel reads it, sealed memory, tensors that travel."""

import os
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from edge.inference.channel import SIDE, Arena, make_arena, make_file
from edge.inference.landlock import ruleset
from edge.inference.seccomp import build
from shared.errors import FaultError

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003
PID = 4242


def verdict(program: bytes, number: int, *arguments: int, arch: int) -> int:
    """What the kernel's interpreter of classic BPF would return for one call."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    lines = list(struct.iter_unpack("<HBBI", program))
    at = value = 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            return k
        else:
            at += yes if (value == k if code == 0x15 else value & k) else no


@pytest.mark.parametrize(
    ("machine", "arch", "calls"),
    [
        ("x86_64", X86, {"read": 0, "openat": 257, "socket": 41, "execve": 59, "ptrace": 101, "kill": 62}),
        ("aarch64", ARM, {"read": 63, "openat": 56, "socket": 198, "execve": 221, "ptrace": 117, "kill": 129}),
    ],
)
def test_the_filter_allows_computing_and_refuses_the_rest(machine: str, arch: int, calls: dict[str, int]) -> None:
    program = build(machine, PID)
    assert program is not None
    said = {name: verdict(program, number, arch=arch) for name, number in calls.items()}
    assert said == dict.fromkeys(calls, EPERM) | {"read": ALLOW}
    assert verdict(program, calls["read"], arch=I386) == EPERM  # other numbers mean other calls there
    assert verdict(program, calls["read"] | 0x40000000, arch=arch) == EPERM  # x32


@pytest.mark.parametrize(
    ("machine", "arch", "mmap", "clone", "tgkill"), [("x86_64", X86, 9, 56, 234), ("aarch64", ARM, 222, 220, 131)]
)
def test_the_filter_looks_at_arguments(machine: str, arch: int, mmap: int, clone: int, tgkill: int) -> None:
    program = build(machine, PID)
    assert program is not None
    assert verdict(program, mmap, 0, 4096, 3, 0x22, arch=arch) == ALLOW  # private, to read and write
    assert verdict(program, mmap, 0, 4096, 3, 0x21, arch=arch) == EPERM  # shared
    assert verdict(program, mmap, 0, 4096, 7, 0x22, arch=arch) == EPERM  # executable
    assert verdict(program, clone, 0x3D0F00, arch=arch) == ALLOW  # a thread
    assert verdict(program, clone, 17, arch=arch) == EPERM  # fork
    assert verdict(program, 435, arch=arch) == ENOSYS  # clone3
    assert verdict(program, tgkill, PID, PID, 6, arch=arch) == ALLOW
    assert verdict(program, tgkill, PID + 1, PID + 1, 9, arch=arch) == EPERM


def test_an_architecture_without_a_table_has_no_filter() -> None:
    assert build("riscv64", PID) is None


def test_landlock_is_asked_for_no_more_than_it_knows() -> None:
    assert [len(ruleset(version)) for version in (1, 3, 4, 6, 9)] == [8, 8, 16, 24, 24]
    assert struct.unpack("<Q", ruleset(1)) == ((1 << 13) - 1,)
    assert struct.unpack("<QQQ", ruleset(7)) == ((1 << 16) - 1, 3, 3)


def test_nobody_can_cut_the_arena_short_or_write_the_model() -> None:
    arena, model = make_arena(), make_file(b"proven")
    try:
        for descriptor in (arena, model):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            os.pwrite(model, b"other!", 0)
        assert os.pread(model, 10, 0) == b"proven"
        assert os.pwrite(arena, b"x", 0) == 1
    finally:
        os.close(arena)
        os.close(model)


@pytest.fixture
def arena() -> Iterator[Arena]:
    descriptor = make_arena()
    made = Arena(descriptor)
    os.close(descriptor)
    yield made
    made.close()


def test_tensors_come_out_as_they_went_in(arena: Arena) -> None:
    tensors = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(7, np.int64),
        np.zeros((0, 4), np.uint8),
        np.arange(8, dtype=np.float64)[::2],
    ]
    for before, after in zip(tensors, arena.take(arena.put(tensors, start=SIDE), start=SIDE), strict=True):
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "described",
    [
        b"\x00",  # cut off
        b"\xff\x00",  # no such type
        b"\x00\x02" + bytes(8),  # one axis of two
        b"\x00\x01" + struct.pack("<Q", SIDE),  # four times what fits
        b"\x00\x08" + b"\xff" * 64,
        b"\x00\x09" + struct.pack("<9Q", *[1] * 9),
        (b"\x00\x00") * 17,
        b"\x00\x02" + struct.pack("<2Q", 0, (1 << 64) - 1),  # no elements, and no array either
        b"\x00\x03" + struct.pack("<3Q", 0, 1 << 62, 1 << 62),
    ],
)
def test_descriptors_that_do_not_fit_are_refused(arena: Arena, described: bytes) -> None:
    with pytest.raises(FaultError):
        arena.take(described, start=SIDE)


def test_what_does_not_travel_is_a_fault(arena: Arena) -> None:
    with pytest.raises(FaultError, match="does not travel"):
        arena.put([np.array(["text"])], start=SIDE)
