"""The side of Apple's pfl in the benchmark of simulations, which starts it: pfl works in processes of its own.

pfl's own parts throughout: `FederatedAveraging`, `SimulatedBackend`, `PyTorchModel`, its weighting by data points, its
sampler which gives each process about as many examples. Ours are the module, the clients and the order of a client's
batches. pfl scores clients before and after the first round, which is counted nowhere, and in no other.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.federation import Instruction
from shared.task import Weights
from simulations.grid.clients import FashionClients

if TYPE_CHECKING:
    from tests.benchmarks.simulation import Case

CLIENTS, STATE, DONE = "clients.json", "initial.npz", "done.npz"


class Told(msgspec.Struct):
    """What pfl's processes are told."""

    clients: FashionClients
    wanted: Instruction


def is_there() -> bool:
    """Whether pfl is installed here."""
    return importlib.util.find_spec("pfl") is not None


def on_pfl(case: Case, rounds: int, *, processes: int) -> tuple[list[float], Weights, Weights]:
    """Seconds of each round, the weights at the end and those after the first round."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / CLIENTS).write_bytes(msgspec.json.encode(Told(case.clients, case.wanted), enc_hook=str))
        np.savez(directory / STATE, **case.initial)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        asked = [*launcher, "-m", "tests.benchmarks.simulation_pfl", place, str(rounds)]
        threads = {"OMP_NUM_THREADS": str((os.cpu_count() or 1) // processes)}
        subprocess.run([sys.executable, *asked], check=True, env={**os.environ, **threads}, stdout=subprocess.DEVNULL)
        with np.load(directory / DONE) as done:
            last, first = ({name: done[f"{when}.{name}"] for name in case.initial} for when in ("last", "first"))
            return [float(each) for each in done["seconds"]], last, first


def main(directory: Path, rounds: int) -> None:
    """One of pfl's processes."""
    import torch
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.internal.ops import get_ops
    from pfl.metrics import Metrics, Weighted
    from pfl.model.pytorch import PyTorchModel

    from shared.tasks import adapter
    from shared.tasks.descent import CLIP, MOMENTUM, WEIGHT_DECAY, batches
    from shared.tasks.network import NetworkTask
    from tests.benchmarks.simulation import recipe_of

    told = msgspec.json.decode((directory / CLIENTS).read_bytes(), type=Told, dec_hook=lambda kind, value: kind(value))
    wanted, shares, family = told.wanted, told.clients.shares(), adapter(told.clients.task)
    assert isinstance(family, NetworkTask)

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = family.build()
            with np.load(directory / STATE) as initial:
                self.net.load_state_dict({name: torch.from_numpy(initial[name]) for name in initial.files})

        def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.train()
            return torch.nn.functional.cross_entropy(self.net(x), y)

        def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, object]:
            return {"loss": Weighted(float(self.loss(x, y).detach()) * len(y), len(y))}

    class Client(Dataset):  # type: ignore[misc]  # pfl is Any here
        def iter(self, batch_size: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            x, y = self.raw_data
            seed = recipe_of(wanted, watch.round, int(self.user_id)).seed
            order = np.random.Generator(np.random.PCG64(seed))
            for chosen in map(torch.from_numpy, batches(order, len(y), batch_size or len(y))):
                yield x[chosen], y[chosen]

    class Watch(TrainingProcessCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.round, self.seconds, self.first = 1, list[float](), dict[str, NDArray[np.float32]]()
            self._started = 0.0

        def on_train_begin(self, *, model: object) -> object:
            self._started = time.perf_counter()
            return Metrics()

        def after_central_iteration(
            self, _metrics: object, model: object, *, central_iteration: int
        ) -> tuple[bool, object]:
            now = time.perf_counter()
            self.seconds.append(now - self._started)
            self.first = self.first or state()
            self.round, self._started = central_iteration + 2, time.perf_counter()
            return False, Metrics()

    def state() -> dict[str, NDArray[np.float32]]:
        return {name: values.numpy().copy() for name, values in module.net.state_dict().items()}

    def client(name: str) -> Client:
        training = shares[int(name)].training
        return Client((torch.from_numpy(training.x), torch.from_numpy(training.y)), user_id=name)

    watch, module = Watch(), Module()
    model = PyTorchModel(
        module,
        lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        torch.optim.SGD(module.parameters(), lr=1.0),
    )
    names = [str(position) for position in range(len(shares))]
    sizes = {name: len(share.training) for name, share in zip(names, shares, strict=True)}
    users = FederatedDataset(client, get_user_sampler("minimize_reuse", names), user_id_to_weight=sizes)
    FederatedAveraging().run(
        NNAlgorithmParams(rounds, 10**9, len(names), None),
        SimulatedBackend(users, users, postprocessors=[WeightByDatapoints()]),
        model,
        NNTrainHyperParams(wanted.batch_size, wanted.epochs, wanted.learning_rate, CLIP),
        callbacks=[watch],
        send_metrics_to_platform=False,
    )
    if get_ops().distributed.global_rank == 0:
        kept = {
            f"{when}.{name}": v for when, of in (("first", watch.first), ("last", state())) for name, v in of.items()
        }
        np.savez(directory / DONE, seconds=np.array(watch.seconds), **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
