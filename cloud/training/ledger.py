"""A run's memory on disk: events that are only ever appended, a checkpoint per round, the result.

    events.jsonl     one event a line, fsynced before the job goes on
    round-007.npz    global weights and the optimiser's state after round 7, replaced atomically
    result.json      written last

The job writes, the coordinator reads; both may be killed at any instruction.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloud.training.events import AnyEvent, RoundFinished, StatisticsTaken
from cloud.training.optimisers import State
from shared.durable import make_directory, replace_atomic, write_atomic
from shared.errors import ContractError, TrustError
from shared.task import Weights
from shared.tasks.weights import read_weights, weights_digest, write_weights

EVENTS = "events.jsonl"
RESULT = "result.json"

_STATE = "optimiser/"

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class Checkpoint(NamedTuple):
    """Where a restarted job goes on."""

    round: int
    weights: Weights
    state: State
    """Of the server optimiser; empty before its first step."""


class RunLedger:
    """The ledger of one run, in the directory `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory)

    def append(self, event: AnyEvent) -> None:
        """Make `event` durable.

        A torn line, left by a crash in the middle of an append, is cut off first: it was never committed.
        """
        with (self.directory / EVENTS).open("a+b") as file:
            _cut_torn_tail(file.fileno())
            file.write(msgspec.json.encode(event) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read_since(self, offset: int, *, until: int = -1) -> tuple[list[AnyEvent], int]:
        """Return the events after byte `offset` and the offset to ask for next time; never a torn line.

        With `until`, an offset that was returned before, only the events up to there.

        Raises:
            ContractError: a whole line is no event: somebody else wrote to this file.
        """
        try:
            with (self.directory / EVENTS).open("rb") as file:
                file.seek(offset)
                data = file.read(until - offset if until >= 0 else -1)
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        try:
            return [_decoder.decode(line) for line in whole.splitlines()], offset + len(whole)
        except msgspec.MsgspecError as error:
            raise ContractError(f"{self.directory / EVENTS} holds a line that is no event: {error}") from error

    def events(self) -> list[AnyEvent]:
        """Every event so far."""
        return self.read_since(0)[0]

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make a round's weights durable; the round counts once its `RoundFinished` is appended."""
        tensors = dict(checkpoint.weights)
        tensors.update({_STATE + name: values for name, values in checkpoint.state.items()})
        replace_atomic(self._checkpoint_path(checkpoint.round), lambda file: write_weights(file, tensors))

    def last_committed(self) -> tuple[Checkpoint, dict[str, int]] | None:
        """Return where to go on and who takes part, or None when not even the statistics are taken.

        Raises:
            TrustError: the checkpoint does not have the digest that the ledger recorded.
            ContractError: the file is gone or no checkpoint.
        """
        events = self.events()
        taken = [event for event in events if isinstance(event, StatisticsTaken)]
        if not taken:
            return None
        finished = [event for event in events if isinstance(event, RoundFinished)]
        number, digest = (finished[-1].round, finished[-1].digest) if finished else (0, taken[-1].digest)
        checkpoint = self.read_checkpoint(number)
        if weights_digest(checkpoint.weights) != digest:
            raise TrustError(
                f"the checkpoint of round {number} in {self.directory} is not the one the ledger recorded",
                hint="Start the run again in a new directory.",
            )
        return checkpoint, dict(taken[-1].registered)

    def read_checkpoint(self, round_: int) -> Checkpoint:
        """Read the checkpoint of one round.

        Raises:
            ContractError: the file is gone or no checkpoint.
        """
        try:
            with self._checkpoint_path(round_).open("rb") as file:
                tensors = read_weights(file)
        except OSError as error:
            raise ContractError(f"no checkpoint of round {round_} in {self.directory}: {error}") from error
        weights = {name: values for name, values in tensors.items() if not name.startswith(_STATE)}
        state = {n.removeprefix(_STATE): v for n, v in tensors.items() if n.startswith(_STATE)}
        return Checkpoint(round_, weights, state)

    def write_file(self, name: str, data: bytes) -> None:
        """Make an artefact of the run durable."""
        write_atomic(self.directory / name, data)

    def _checkpoint_path(self, round_: int) -> Path:
        return self.directory / f"round-{round_:03}.npz"


def _cut_torn_tail(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    data = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, data.rfind(b"\n") + 1)
