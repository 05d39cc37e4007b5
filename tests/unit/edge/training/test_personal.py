"""What a device sends of a round, and what it keeps back for the next one."""

import numpy as np

from edge.training.kept import KeptStore
from edge.training.personal import answer
from shared import federation as fed
from shared.federation import Instruction
from shared.task import Trained
from shared.tasks.compression import Compression, Kind, decompress

TOP = Compression(kind=Kind.TOP_K, share=0.25)
GLOBAL = {"weights": np.zeros(8, np.float32)}
CHANGE = np.array([1, 2, 3, 4, 5, 6, 7, 8], np.float32)


def one_round(store, number):
    """The change that the coordinator reads of a round in which training moved every weight by `CHANGE`."""
    wanted = Instruction(task="t", run="r", round=number, compression=TOP)
    begun = store.before("t", run="r", round_=number)
    trained = Trained(weights={"weights": CHANGE}, examples=1, loss=0.0)
    content = answer(store, wanted, begun=begun, weights=GLOBAL, trained=trained)
    return decompress(content[fed.CONFIG][fed.UPDATE], compression=TOP, length=8)


def test_what_compression_lost_in_one_round_is_sent_in_a_later_one(tmp_path):
    store = KeptStore(tmp_path)
    sent = sum(one_round(store, number) for number in range(1, 5))
    left = store.before("t", run="r", round_=5).residual
    assert np.allclose(sent + left, 4 * CHANGE)
    assert (sent > 0).sum() > 2  # by itself each round would send the same two


def test_a_round_that_is_done_again_sends_the_same(tmp_path):
    store = KeptStore(tmp_path)
    one_round(store, 1)
    assert np.array_equal(one_round(store, 2), one_round(store, 2))
