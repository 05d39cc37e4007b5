"""The operator who labels: late, in order, each window once."""

import json

import numpy as np

from simulations.scenarios.cast import LABELLED, OWN, SHIFTED_PHASE, Stream
from simulations.scenarios.operator import DELAY_S, Labeller


def make(tmp_path):
    phases = (OWN,) * 3 + (LABELLED,) * 2 + (SHIFTED_PHASE,) * 5
    stream = Stream(path=tmp_path / "s.npz", labels=np.arange(10) % 7, phases=phases, loop=False)
    return Labeller(stream=stream, pipeline="wrist", task="activity", inbox=tmp_path / "labels")


def rows(tmp_path):
    files = sorted((tmp_path / "labels").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_no_label_before_its_delay(tmp_path):
    labeller = make(tmp_path)
    labeller.observe(4, at=100.0)
    assert labeller.label_once(at=100.0 + DELAY_S / 2) == 0
    assert labeller.label_once(at=100.0 + DELAY_S) == 4


def test_each_window_once_and_only_the_first_shifted_ones_train(tmp_path):
    labeller = make(tmp_path)
    for at, count in ((100.0, 4), (101.0, 4), (102.0, 10)):
        labeller.observe(count, at=at)
        labeller.label_once(at=at)
    labeller.label_once(at=200.0)
    labeller.label_once(at=201.0)
    said = rows(tmp_path)
    assert [row["id"] for row in said] == [f"wrist:{index}" for index in range(10)]
    assert [row["y"] for row in said] == [index % 7 for index in range(10)]
    assert [row["train"] for row in said] == [False] * 3 + [True] * 2 + [False] * 5


def test_a_shift_is_dated_before_the_first_window_after_it(tmp_path):
    labeller = make(tmp_path)
    assert labeller.last_before(3) is None
    for at, count in ((100.0, 1), (101.0, 3), (102.0, 4)):
        labeller.observe(count, at=at)
    assert labeller.last_before(3) == 101.0
