"""Devices as a Flower grid in one process: each has the real client app over its own data, and may drop out.

Flower's `Strategy.start` cannot tell it from a SuperLink. What the coordinator is sent is kept for whoever wants to
look for secrets in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import ConfigRecord, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from edge.training.client import handle
from shared import federation as fed
from shared.codec import unpack
from shared.federation import Instruction
from shared.secagg import STAGE, Stage

Drops = Callable[[int, int, str], bool]
"""(node, round, stage) → whether the node does not answer; the stage is its tag, or the message type."""


def nobody(_node: int, _round: int, _stage: str) -> bool:
    """Every node answers everything."""
    return False


class Nodes(Grid):  # type: ignore[misc]  # Flower's classes are Any to mypy
    """A grid of client apps that live here."""

    def __init__(self, apps: Mapping[int, ClientApp], *, run: int, drops: Drops = nobody) -> None:
        """Reach `apps` by node id, as messages of the Flower run `run`; `drops` decides who is silent."""
        # messages read the run they belong to from here, one per process
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, 1, 1
        self._apps = dict(apps)
        self._run = run
        self._drops = drops
        self.received: list[tuple[str, int, Message]] = []
        """Stage, node and reply of everything that the coordinator was sent."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Have each node answer in turn, the last one first: the order of arrival is nothing to rely on."""
        replies: list[Message] = []
        for message in reversed(list(messages)):
            node, stage = message.metadata.dst_node_id, stage_of(message)
            if self._drops(node, _round_of(message), stage):
                continue
            message.metadata.__dict__["_message_id"] = message.object_id
            reply = handle(self._apps[node], message, node)
            self.received.append((stage, node, reply))
            replies.append(reply)
        return replies

    def get_node_ids(self) -> list[int]:
        """Every node."""
        return list(self._apps)

    def set_run(self, run: Any) -> None:
        """Nothing to do: the run is named at the start."""

    @property
    def run(self) -> Any:
        """Not known here."""
        raise NotImplementedError

    def create_message(self, *parts: Any, **named: Any) -> Message:
        """Flower's older way; nobody here goes it."""
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Only `send_and_receive` is used."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Only `send_and_receive` is used."""
        raise NotImplementedError


def stage_of(message: Message) -> str:
    """Tag of the stage of secure aggregation, or the message's type."""
    record = message.content.get(fed.CONFIG)
    data = record.get(STAGE) if isinstance(record, ConfigRecord) else None
    if not isinstance(data, bytes):
        return str(message.metadata.message_type)
    stage: Any = unpack(data, Stage)  # type: ignore[arg-type]  # a union is no type to mypy
    return str(type(stage).__struct_config__.tag)


def _round_of(message: Message) -> int:
    return unpack(message.content[fed.CONFIG][fed.INSTRUCTION], Instruction).round
