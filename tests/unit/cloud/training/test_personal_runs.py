"""Whole runs with tensors that stay on the devices, and with updates that travel compressed."""

import msgspec
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from cloud.models.gates import Bar
from cloud.models.line import LocalRecipe
from cloud.training.ledger import RunLedger
from cloud.training.spec import Member, RunSpec, check
from cloud.training.unpacking import Unpacking
from edge.training.kept import KeptStore
from shared import federation as fed
from shared.errors import ContractError
from shared.task import Examples
from shared.tasks import adapter
from shared.tasks.compression import Compression, Kind, compress
from shared.tasks.records import FLAT
from tests.in_process_run import devices, run

TASK = adapter("activity")
CLASSES = len(TASK.labels)


def contrary(device, count, seed):
    """The same movements, which each wearer calls by another name."""
    source = np.random.default_rng(seed)
    kind = source.integers(0, CLASSES, count)
    means = 2.0 * np.random.default_rng(0).normal(size=(CLASSES, TASK.input_shape[0], 1))
    x = source.normal(size=(count, *TASK.input_shape)) + means[kind]
    return Examples(x.astype(np.float32), ((kind + 2 * device) % CLASSES).astype(np.int64))


@pytest.fixture
def stores(tmp_path):
    """Three fresh devices for each run that is compared."""

    def make(name, *, same=False):
        parts = [(contrary(0 if same else d, 70, 2 * d), contrary(0 if same else d, 30, 2 * d + 1)) for d in range(3)]
        return devices(tmp_path / name, TASK.name, parts)

    return make


def play(directory, stores, **spec):
    common = {
        "task": TASK.name,
        "seed": 3,
        "rounds": 8,
        "local": LocalRecipe(epochs=2, batch_size=16, learning_rate=0.02),
        "bar": Bar(accuracy=0.0),
    }
    return run(directory, stores, **(common | spec))


def test_local_heads_serve_devices_that_contradict_each_other(stores, tmp_path):
    together = play(tmp_path / "a", stores("one"))
    own = stores("two")
    apart = play(tmp_path / "b", own, local_parts=("head.",))
    assert apart.rounds[-1].accuracy > 0.9
    assert apart.rounds[-1].accuracy > together.rounds[-1].accuracy + 0.3
    ledger = RunLedger(tmp_path / "b")
    first, last = (ledger.read_checkpoint(number).weights for number in (0, 8))
    # the server learnt nothing about any head; the mean of equal values is one within fixed-point rounding
    assert np.abs(first["head.weight"] - last["head.weight"]).max() < 1e-8
    assert not np.array_equal(first["conv3.weight"], last["conv3.weight"])
    heads = [KeptStore(store.directory).latest(TASK.name)["head.weight"] for store in own]
    assert not np.array_equal(heads[0], heads[1])
    assert play(tmp_path / "c", stores("three"), local_parts=("head.",)).digest == apart.digest


@pytest.mark.parametrize(
    "compression", [Compression(kind=Kind.INT8), Compression(kind=Kind.TOP_K, share=0.1)], ids=lambda c: c.kind
)
def test_compressed_updates_train_nearly_as_well(stores, tmp_path, compression):
    whole = play(tmp_path / "a", stores("one", same=True))
    small = play(tmp_path / "b", stores("two", same=True), compression=compression)
    assert whole.rounds[-1].accuracy > 0.9
    assert small.rounds[-1].accuracy > whole.rounds[-1].accuracy - 0.05
    again = play(tmp_path / "c", stores("three", same=True), compression=compression)
    assert again.digest == small.digest
    assert small.digest != whole.digest


FORM = {"conv.weight": (2, 2), "head.weight": (3,)}
MODEL = {FLAT: np.arange(7, dtype=np.float32)}


def arrays(values):
    return RecordDict({fed.ARRAYS: ArrayRecord({FLAT: Array(values)})})


def test_what_stays_on_a_device_is_not_moved_by_it():
    read = Unpacking(FORM, local_parts=("head.",), compression=Compression()).read
    assert read(arrays(np.full(4, 9, dtype=np.float32)), MODEL)[FLAT].tolist() == [9, 9, 9, 9, 4, 5, 6]
    for foreign in (np.zeros(7, np.float32), np.zeros(4), np.zeros((4, 1), np.float32)):
        with pytest.raises(ContractError):
            read(arrays(foreign), MODEL)


def test_an_update_travels_as_the_run_says():
    compression = Compression(kind=Kind.INT8)
    read = Unpacking(FORM, local_parts=(), compression=compression).read
    data, _ = compress(np.ones(7, np.float32), np.zeros(7, np.float32), compression=compression, seed=1)
    content = RecordDict({fed.CONFIG: ConfigRecord({fed.UPDATE: data})})
    assert np.allclose(read(content, MODEL)[FLAT], MODEL[FLAT] + 1.0)
    for other in (arrays(np.zeros(7, np.float32)), RecordDict({fed.CONFIG: ConfigRecord({fed.UPDATE: "text"})})):
        with pytest.raises(ContractError):
            read(other, MODEL)


@pytest.mark.parametrize("prefixes", [("tail.",), ("",), ("conv.", "head.")])
def test_parts_that_are_none_or_all_are_refused(prefixes):
    with pytest.raises(ContractError):
        Unpacking(FORM, local_parts=prefixes, compression=Compression())


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": Compression(kind=Kind.TOP_K, share=0.0)},
        {"compression": Compression(kind=Kind.INT8), "local": LocalRecipe(scaffold=True)},
        {"local_parts": ("head.",), "local": LocalRecipe(scaffold=True)},
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes):
    spec = RunSpec(run="run-1", task="activity", members=[Member(device="a", node=1)], seed=1, min_devices=1)
    with pytest.raises(ContractError):
        check(msgspec.structs.replace(spec, **changes))
