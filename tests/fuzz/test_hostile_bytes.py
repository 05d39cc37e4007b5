"""200,000 hostile inputs over every parser of foreign bytes: only our own errors come out, and soon."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from shared.errors import ContractError
from tests.fuzz.runner import SLOW_S, Tally, Target, check, fuzz, regressions
from tests.fuzz.targets import targets

COUNT = int(os.environ.get("FUZZ_INPUTS", "200000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_every_parser_takes_its_honest_inputs(chosen):
    tally = Tally()
    flaws = {
        f"{target.name}: {flaw}" for target in chosen for seed in target.seeds if (flaw := check(target, seed, tally))
    }
    assert flaws == set()
    assert len(chosen) >= 40
    assert tally.accepted > len(chosen) / 2  # a signed bundle of the other seeds is a seed too, and refused


def test_what_was_once_found_stays_mended(chosen):
    flaws = [
        f"{path.name}: {flaw}"
        for target in chosen
        for path in regressions(target)
        if (flaw := check(target, path.read_bytes(), Tally()))
    ]
    assert flaws == []


@pytest.mark.slow
def test_no_input_brings_anything_but_our_own_errors(chosen, capsys):
    shares, total, findings = sum(target.share for target in chosen), 0, []
    for target in chosen:
        tally = fuzz(target, math.ceil(COUNT * target.share / shares), seed=SEED)
        total, findings = total + tally.executed, findings + tally.findings
        with capsys.disabled():
            print(f"\n{target.name:24} {tally.executed:8} inputs, {tally.refused:8} refused", end="")
    assert findings == []
    assert total >= COUNT


def crash(data: bytes) -> None:
    if b"\xff" in data:
        raise KeyError(data)
    raise ContractError("no")


def stall(data: bytes) -> None:
    if len(data) > 40:
        time.sleep(SLOW_S + 0.05)


def swell(data: bytes) -> None:
    if len(data) > 40:
        bytearray(b"x") * (200 << 20)


@pytest.mark.parametrize(("parse", "said"), [(crash, "KeyError"), (stall, "took"), (swell, "grew the process")])
def test_the_watch_sees_a_crash_a_stall_and_a_swelling(parse, said):
    target = Target(name="planted", parse=parse, seeds=[b"x" * 38])
    tally = fuzz(target, 40, seed=1, keep=False)
    assert said in tally.findings[0]


def test_the_same_seed_gives_the_same_inputs():
    def heard(seed: int) -> list[bytes]:
        taken: list[bytes] = []
        fuzz(Target(name="heard", parse=taken.append, seeds=[b'{"a": [1, 2]}', b"\x81\xa1a\x05"]), 200, seed=seed)
        return taken

    assert heard(3) == heard(3) != heard(4)
    assert len(set(heard(3))) > 150


def test_regressions_lie_beside_the_fuzzer(chosen):
    stored = {path.name for path in Path(__file__).with_name("regressions").glob("*") if path.is_dir()}
    assert stored <= {target.name for target in chosen}
