import numpy as np
import pytest

from edge.training.kept import Kept, KeptStore
from shared.errors import ContractError


def kept(value):
    return Kept(local={"head.bias": np.full(3, value, dtype=np.float32)}, residual=np.full(4, -value, dtype=np.float32))


def values(state):
    return (float(state.local["head.bias"][0]) if state.local else None), (
        None if state.residual is None else float(state.residual[0])
    )


@pytest.fixture
def store(tmp_path):
    store = KeptStore(tmp_path)
    store.commit("watch", run="run-1", round_=1, before=Kept(), after=kept(1.0))
    store.commit("watch", run="run-1", round_=2, before=kept(1.0), after=kept(2.0))
    return store


def test_a_round_goes_on_where_the_one_before_ended(store, tmp_path):
    assert values(store.before("watch", run="run-1", round_=3)) == (2.0, -2.0)
    assert values(KeptStore(tmp_path).before("watch", run="run-1", round_=3)) == (2.0, -2.0)


def test_a_round_that_is_asked_again_begins_where_it_began(store):
    assert values(store.before("watch", run="run-1", round_=2)) == (1.0, -1.0)


def test_another_run_finds_the_head_and_no_residual(store):
    assert values(store.before("watch", run="run-2", round_=1)) == (2.0, None)


def test_lines_share_nothing(store):
    assert values(store.before("camera", run="run-1", round_=3)) == (None, None)
    assert store.latest("camera") == {}
    with pytest.raises(ContractError):
        store.latest("../watch")


def test_a_file_that_is_none_is_a_fresh_start(store, tmp_path):
    (tmp_path / "kept" / "watch.bin").write_bytes(b"\xff")
    assert values(store.before("watch", run="run-1", round_=3)) == (None, None)
