import subprocess
import sys

import numpy as np
import pytest

from edge.training.dataset import TRIM_EVERY, DatasetStore
from shared.errors import ContractError, RefusedError


def window(number):
    return np.full((2, 3), number, dtype=np.float32)


@pytest.fixture
def store(tmp_path):
    split = tmp_path / "activity"
    split.mkdir()
    for name, count in (("train", 4), ("holdout", 2)):
        np.savez(split / f"{name}.npz", x=np.zeros((count, 2, 3), dtype=np.float32), y=np.zeros(count, dtype=np.int64))
    store = DatasetStore(tmp_path)
    yield store
    store.close()


def label_stream(store, count, *, first=0, train=True):
    for number in range(first, first + count):
        store.remember("activity", f"wrist:{number}", window(number))
        assert store.label("activity", f"wrist:{number}", number % 7, train=train)


def numbers(examples):
    return examples.x[:, 0, 0].tolist()


def test_without_labels_the_base_split_is_all(store):
    training, holdout = store.training("activity")
    assert (len(training), len(holdout)) == (4, 2)
    assert training.x.dtype == np.float32
    assert training.y.dtype == np.int64


def test_one_labelled_window_in_four_is_held_out(store):
    label_stream(store, 8)
    training, holdout = store.training("activity", labels=8)
    assert numbers(training)[4:] == [0, 1, 2, 4, 5, 6]
    assert numbers(holdout)[2:] == [3, 7]
    assert training.y[4:].tolist() == [0, 1, 2, 4, 5, 6]


def test_later_labels_do_not_change_what_a_run_asked_for(store):
    label_stream(store, 6)
    before = store.training("activity", labels=6)
    label_stream(store, 10, first=6)
    after = store.training("activity", labels=6)
    for one, other in zip(before, after, strict=True):
        assert one.x.tobytes() == other.x.tobytes()
        assert one.y.tobytes() == other.y.tobytes()


def test_labels_count_in_the_order_of_the_stream_not_of_their_arrival(store):
    for number in range(4):
        store.remember("activity", f"wrist:{number}", window(number))
    for number in (3, 1, 0, 2):
        store.label("activity", f"wrist:{number}", 0, train=True)
    assert numbers(store.training("activity", labels=4)[0])[4:] == [0, 1, 2]


def test_labels_for_measuring_are_not_trained_on(store):
    label_stream(store, 3, train=False)
    assert store.labels_held("activity") == 0
    label_stream(store, 2, first=3)
    assert store.labels_held("activity") == 2
    assert numbers(store.training("activity", labels=2)[0])[4:] == [3, 4]


def test_a_run_that_asks_for_more_labels_than_there_are_is_refused(store):
    label_stream(store, 3)
    with pytest.raises(RefusedError, match="holds 3"):
        store.training("activity", labels=4)


def test_the_first_label_stands_and_unknown_windows_have_none(store):
    label_stream(store, 1)
    assert not store.label("activity", "wrist:0", 6, train=True)
    assert not store.label("activity", "wrist:99", 6, train=True)
    assert not store.label("other", "wrist:0", 6, train=True)
    assert store.training("activity", labels=1)[0].y[-1] == 0


def test_a_window_that_comes_again_stays_as_it_is(store):
    store.remember("activity", "wrist:0", window(1))
    store.remember("activity", "wrist:0", window(2))
    store.label("activity", "wrist:0", 0, train=True)
    assert numbers(store.training("activity", labels=1)[0])[-1] == 1


def test_windows_that_nobody_labels_are_forgotten_oldest_first(tmp_path):
    store = DatasetStore(tmp_path, unlabelled=10)
    store.remember("activity", "wrist:kept", window(0))
    store.label("activity", "wrist:kept", 0, train=True)
    for number in range(TRIM_EVERY):
        store.remember("activity", f"wrist:{number}", window(number))
    store.remember("activity", "wrist:last", window(0))
    assert not store.label("activity", "wrist:0", 0, train=True)
    assert store.label("activity", f"wrist:{TRIM_EVERY - 1}", 0, train=True)
    assert store.labels_held("activity") == 2
    store.close()


def test_what_one_process_labels_another_one_trains_on(store, tmp_path):
    label_stream(store, 3)
    code = (
        "import sys; from pathlib import Path; from edge.training.dataset import DatasetStore;"
        f"s = DatasetStore(Path({str(tmp_path)!r}));"
        "print(s.labels_held('activity'), len(s.training('activity', labels=3)[0]));"
        "assert 'torch' not in sys.modules and 'flwr' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["3", "7"]


def test_labels_outlive_the_process(store, tmp_path):
    label_stream(store, 2)
    again = DatasetStore(tmp_path)
    assert again.labels_held("activity") == 2
    again.close()


def test_a_device_without_data_refuses(store):
    with pytest.raises(RefusedError):
        store.training("fashion")
    with pytest.raises(ContractError):
        store.training("../activity")


def test_a_split_that_is_none_is_reported(store, tmp_path):
    (tmp_path / "activity" / "train.npz").write_bytes(b"no archive")
    with pytest.raises(ContractError):
        store.training("activity")
    np.savez(tmp_path / "activity" / "train.npz", x=np.zeros((3, 2, 3)), y=np.zeros(2))
    with pytest.raises(ContractError):
        store.training("activity")
    np.savez(tmp_path / "activity" / "train.npz", x=np.array([object()]), y=np.zeros(1))
    with pytest.raises(ContractError):
        store.training("activity")


def test_live_windows_of_another_shape_do_not_mix_in(store):
    store.remember("activity", "wrist:0", np.zeros(5, dtype=np.float32))
    store.label("activity", "wrist:0", 0, train=True)
    with pytest.raises(ContractError):
        store.training("activity", labels=1)
