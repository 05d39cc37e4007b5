"""The clients of a simulated federation: what each holds, and the app that answers for it.

A client is a position, 0 to n − 1. Whichever Grid carries a message, the app and the seed of a client's local training
are functions of that position, so that all of them compute the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from msgspec import structs

from cloud.training.cohort import local_seed
from edge.training.client import build_client, handle, moments_of
from edge.training.dataset import DatasetStore
from shared import federation as fed
from shared.codec import pack, unpack
from shared.errors import ContractError, RefusedError
from shared.federation import Instruction
from shared.task import Examples, Moments, Weights
from shared.tasks import adapter
from simulations.images import Share, dirichlet_shares, fashion_training
from simulations.packages.data import layout

PARTITION = "partition-id"
"""Under this name Flower's simulation engine tells an app which client it is; our Grid does the same."""

ROUND = "server-round"
"""Field that Flower's own strategies add to the one config they send to all clients of a round."""


class Clients(Protocol):
    """A federation; cheap to send to another process."""

    @property
    def task(self) -> str:
        """Name of the model family."""
        ...

    def shares(self) -> Sequence[Share]:
        """What each client holds, by position; loaded once a process."""
        ...


@dataclass(frozen=True, slots=True)
class HeldClients:
    """Clients whose data sets are in memory."""

    task: str
    held: Sequence[Share]

    def shares(self) -> Sequence[Share]:
        """As they were given."""
        return self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class FashionClients:
    """Fashion-MNIST, dealt to `clients` clients with the class mixes of a Dirichlet distribution."""

    task: str
    data: Path
    """Directory of the data packages, see `simulations.packages`."""

    clients: int
    images: int = 60_000
    alpha: float = 0.5
    seed: int = 7

    def shares(self) -> Sequence[Share]:
        """Cut the training images; equal fields give equal shares in every process."""
        return _dealt(self)


@lru_cache(maxsize=2)
def _dealt(clients: FashionClients) -> Sequence[Share]:
    files = layout(clients.data, evaluation={}).fashion
    return dirichlet_shares(
        fashion_training(files), devices=clients.clients, images=clients.images, alpha=clients.alpha, seed=clients.seed
    )


def initial_weights(clients: Clients, *, seed: int) -> Weights:
    """First global weights, with the normalisation that the clients' own statistics give."""
    answers = [moments_of(share.training, share.holdout) for share in clients.shares()]
    moments = Moments(
        count=sum(answer.count for answer in answers),
        total=np.sum([answer.total for answer in answers], axis=0),
        square=np.sum([answer.square for answer in answers], axis=0),
    )
    return adapter(clients.task).initial(seed=seed, moments=moments)


@dataclass(frozen=True, slots=True)
class ShareStore:
    """A client's share where the device's app expects its data set store."""

    task: str
    share: Share
    directory: Path
    """Where the app keeps what an algorithm has a client remember from round to round."""

    def training(self, task: str, labels: int = 0) -> tuple[Examples, Examples]:
        """The training and the hold-out part.

        Raises:
            RefusedError: the client holds no such data.
        """
        if task != self.task or labels:
            raise RefusedError(f"this client holds {self.task} and no live labels", hint="Ask for what it holds.")
        return self.share.training, self.share.holdout


class DeviceApp(ClientApp):  # type: ignore[misc]  # flwr is Any here
    """The `ClientApp` of our devices, for every client of a federation: Flower's simulation engine runs it as it is."""

    def __init__(self, clients: Clients, *, state: Path | None = None) -> None:
        """Answer for `clients`; without a directory `state` they remember nothing, and refuse SCAFFOLD."""
        super().__init__()
        self.clients = clients
        self.state = state

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer for the client that the context names; a failure becomes an error reply."""
        position = int(context.node_config[PARTITION])
        if self.state is None and _remembers(message):
            reason = "refused: this simulated client remembers nothing from round to round"
            return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message)
        directory = (self.state or Path()) / f"client-{position}"
        store = ShareStore(self.clients.task, self.clients.shares()[position], directory)
        # the app asks nothing else of its store than these two
        return handle(build_client(cast(DatasetStore, store)), individual(message, position), context.node_id)


def _remembers(message: Message) -> bool:
    try:
        return instruction(message).controlled
    except ContractError:
        return False  # the app says what is wrong


def instruction(message: Message) -> Instruction:
    """What a client is asked to do.

    Raises:
        ContractError: the message says nothing of the kind.
    """
    config = message.content.get(fed.CONFIG)
    packed = config.get(fed.INSTRUCTION) if isinstance(config, ConfigRecord) else None
    if not isinstance(packed, bytes):
        raise ContractError(
            "the message holds no instruction",
            hint="Give Flower's strategy `instruct(…)` as its train_config and evaluate_config.",
        )
    return unpack(packed, Instruction)


def instruct(wanted: Instruction) -> ConfigRecord:
    """What Flower's own strategies take as `train_config` and `evaluate_config`; `wanted.seed` is the run's seed."""
    return ConfigRecord({fed.INSTRUCTION: pack(wanted)})


def meant_for(message: Message, position: int) -> Instruction:
    """The instruction as this client takes it.

    Raises:
        ContractError: there is none.
    """
    return own_of(instruction(message), message.content[fed.CONFIG], position)


def own_of(wanted: Instruction, config: ConfigRecord, position: int) -> Instruction:
    """A client's own instruction.

    Flower's strategies send one config to everybody: the run's seed in it becomes one of this round and client.
    """
    round_ = config.get(ROUND)
    if not isinstance(round_, int):
        return wanted
    return structs.replace(wanted, round=round_, seed=local_seed(wanted.seed, round_, f"client-{position}"))


def individual(message: Message, position: int) -> Message:
    """The message with the instruction as this client takes it; any other message as it is."""
    config = message.content.get(fed.CONFIG)
    if not isinstance(config, ConfigRecord) or ROUND not in config or fed.INSTRUCTION not in config:
        return message
    own = ConfigRecord({**config, fed.INSTRUCTION: pack(meant_for(message, position))})
    content = RecordDict({**message.content, fed.CONFIG: own})
    return Message(content=content, metadata=message.metadata)
