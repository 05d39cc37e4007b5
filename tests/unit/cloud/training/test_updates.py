import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from cloud.training.updates import LEAST, MOST, UPDATE, UpdateStore
from shared.errors import ContractError, FaultError


def vector(*values):
    return np.array(values, dtype=np.float32)


def test_blocks_hold_the_same_stretch_of_all_clients_by_name(tmp_path):
    size = MOST + 3
    vectors = {name: np.arange(size, dtype=np.float32) + offset for offset, name in enumerate("cab")}
    with UpdateStore(tmp_path, size=size) as store:
        for name, values in vectors.items():
            store.add(name, values, examples=ord(name))
        assert (store.devices, store.examples) == (["a", "b", "c"], [97, 98, 99])
        parts = [(block.start, block.values.copy()) for block in store.blocks()]
    assert [start for start, _ in parts] == [0, MOST]
    whole = np.concatenate([values for _, values in parts], axis=1)
    assert whole.tobytes() == np.stack([vectors[name] for name in "abc"]).tobytes()


def test_a_block_of_many_clients_is_short_but_worth_a_call(tmp_path):
    with UpdateStore(tmp_path, size=1) as store:
        for number in range(200):
            store.add(f"d-{number:03}", vector(number), examples=1)
        assert store.block_length() == LEAST


def test_extra_vectors_come_back_by_name(tmp_path):
    with UpdateStore(tmp_path, size=2) as store:
        store.add("b", vector(1, 2), examples=1, extras={"control": vector(5, 6)})
        store.add("a", vector(3, 4), examples=1, extras={"control": vector(7, 8)})
        assert [block.values.tolist() for block in store.blocks(of="control")] == [[[7, 8], [5, 6]]]
        assert [block.values.tolist() for block in store.blocks(of=UPDATE)] == [[[3, 4], [1, 2]]]
        with pytest.raises(ContractError):
            list(store.blocks(of="momentum"))


def test_what_does_not_fit_is_refused_and_does_not_count(tmp_path):
    with UpdateStore(tmp_path, size=2) as store:
        store.add("a", vector(1, 2), examples=1)
        for values in (vector(1), np.zeros(2), np.zeros((2, 1), np.float32)):
            with pytest.raises(ContractError):
                store.add("b", values, examples=1)
        with pytest.raises(ContractError):
            store.add("c", vector(1, 2), examples=1, extras={"control": vector(1)})
        with pytest.raises(ContractError):
            store.add("a", vector(1, 2), examples=1)
        assert store.devices == ["a"]


def test_an_update_that_the_disk_refuses_does_not_count_and_the_next_one_does(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with UpdateStore(tmp_path, size=1000) as store:
        store.add("a", np.ones(1000, np.float32), examples=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))  # the second one tears in its middle
        try:
            with pytest.raises(FaultError):
                store.add("b", np.full(1000, 2, np.float32), examples=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        store.add("c", np.full(1000, 3, np.float32), examples=1)
        block = next(store.blocks()).values
        assert store.devices == ["a", "c"]
        assert block.tolist() == [[1.0] * 1000, [3.0] * 1000]


def test_a_directory_that_takes_no_file_is_said(tmp_path):
    with pytest.raises(FaultError):
        UpdateStore(tmp_path / "none", size=1)


def test_nothing_is_left_of_a_job_that_is_killed(tmp_path):
    script = f"""
import os, signal, numpy as np
from pathlib import Path
from cloud.training.updates import UpdateStore
store = UpdateStore(Path({str(tmp_path)!r}), size=1000)
store.add("a", np.ones(1000, np.float32), examples=1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []
