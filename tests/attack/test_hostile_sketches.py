"""Hostile sketch bytes against the C++ reader: refused in Python, and the process stays alive."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ContractError
from shared.sketch import Sketch

ROOT = Path(__file__).resolve().parents[2]

FUZZ = """
import sys
import numpy as np
from shared.errors import ContractError
from shared.sketch import Sketch, psi

rng = np.random.default_rng(int(sys.argv[1]))
seeds = [Sketch(rng.normal(size=n)).to_bytes() for n in (0, 1, 2, 150, 201, 900, 30_000)]
reference = Sketch(rng.normal(size=500))
refused = 0
for _ in range(6_000):
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(len(data), 64) if rng.random() < 0.8 else len(data)))
        data[at] = int(rng.integers(256)) if rng.random() < 0.7 else data[at] ^ (1 << int(rng.integers(8)))
    if rng.random() < 0.2:
        data = data[: int(rng.integers(len(data) + 1))]
    try:
        sketch = Sketch.from_bytes(bytes(data))
    except ContractError:
        refused += 1
        continue
    psi(reference, sketch)
    sketch.merge(reference)
    Sketch.merged([reference, sketch, sketch]).quantile(0.5)
print("alive", refused)
"""


def test_mutated_sketches_never_end_the_process() -> None:
    command = [sys.executable, "-c", FUZZ, "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    word, refused = done.stdout.split()
    assert word == "alive"
    assert 1000 < int(refused) < 6000  # and unharmed ones are still read


def test_a_level_offset_past_the_buffer_is_refused() -> None:
    data = bytearray(Sketch(np.arange(5000)).to_bytes())
    struct.pack_into("<I", data, 20, 1 << 31)
    with pytest.raises(ContractError, match="levels that overlap"):
        Sketch.from_bytes(bytes(data))


def test_a_count_that_the_items_do_not_weigh_is_refused() -> None:
    data = bytearray(Sketch(np.arange(5000)).to_bytes())
    struct.pack_into("<Q", data, 8, 1 << 39)
    with pytest.raises(ContractError, match="weights"):
        Sketch.from_bytes(bytes(data))


def test_another_accuracy_is_refused() -> None:
    data = bytearray(Sketch(np.arange(50)).to_bytes())
    struct.pack_into("<H", data, 4, 8)
    with pytest.raises(ContractError, match="parameters"):
        Sketch.from_bytes(bytes(data))


def test_items_that_are_not_finite_are_refused() -> None:
    data = bytearray(Sketch(np.arange(50)).to_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    with pytest.raises(ContractError, match="finite"):
        Sketch.from_bytes(bytes(data))


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\x00" * 5000, b"\x01\x02", bytes(range(64))])
def test_bytes_that_are_no_sketch_are_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        Sketch.from_bytes(data)


@pytest.mark.parametrize("count", [0, 1, 2, 200, 201, 50_000])
def test_the_honest_sketch_is_accepted(count: int) -> None:
    data = Sketch(np.linspace(-1, 1, count)).to_bytes()
    assert Sketch.from_bytes(data).count == count
