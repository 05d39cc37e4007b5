"""Flower's Grid in one process: messages are numbered, wait, and are answered when somebody pulls.

Flower's `ServerApp` and strategies cannot tell it from a SuperLink. A grid of a scenario or a test says who is there
and how a message is answered; all else stands here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NoReturn

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER = 1
"""Flower's id of whoever runs the `ServerApp`."""


def speak_as(run: int) -> None:
    """Say to Flower which run this process works for: its messages read it from here when they are made."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run, SERVER


class LocalGrid(Grid):  # type: ignore[misc]  # flwr is Any here
    """What all grids in one process have in common."""

    def __init__(self, nodes: Sequence[int], *, run: int = 1) -> None:
        """Reach `nodes` as the Flower run `run`, in whose name this process speaks from now on."""
        self._nodes = nodes
        self._run = Run.create_empty(run)
        self._numbers = count(1)
        self._waiting: dict[str, Message] = {}
        speak_as(run)

    @abstractmethod
    def replies(self, messages: Sequence[Message]) -> Iterator[Message]:
        """Answer these messages, in any order; one that nobody answers is left out."""
        ...

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(self, *_args: object, **_fields: object) -> NoReturn:
        """Flower has deprecated this; build a `Message`."""
        raise NotImplementedError("Grid.create_message is deprecated: use flwr.app.Message")

    def get_node_ids(self) -> list[int]:
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Take messages; nothing is computed before somebody pulls."""
        taken = []
        for message in messages:
            number = f"{self._run.run_id}-{next(self._numbers)}"
            message.metadata.__dict__["_message_id"] = number  # as Flower's own grids do: there is no setter
            self._waiting[number] = message
            taken.append(number)
        return taken

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Compute the replies to those of these messages that wait, each when it is read."""
        return self.replies([self._waiting.pop(number) for number in message_ids if number in self._waiting])

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Ask, and return what is answered; nobody in this process is ever late, so that `timeout` is not used."""
        return self.pull_messages(self.push_messages(messages))
