"""Devices in this process: the agent's own Flower client over a data set each, some of which lie about training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from cloud.training.spec import Member
from edge.training.client import build_client, handle
from edge.training.dataset import DatasetStore
from edge.training.memory import key
from shared import federation as fed
from simulations.scenarios.poison.attackers import Poison


def speak_as(run: int) -> None:
    """Say to Flower which run this process works for: its messages read it from here."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, 1, run


class Site:
    """The devices; what an honest one answers to the same question is worked out once."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self.members = [Member(device=name, node=100 + index) for index, name in enumerate(sorted(directories))]
        self._stores = {member.node: DatasetStore(directories[member.device]) for member in self.members}
        self._apps: dict[int, ClientApp] = {node: build_client(store) for node, store in self._stores.items()}
        self._known: dict[tuple[int, bytes], RecordDict] = {}

    def close(self) -> None:
        """Close the data sets."""
        for store in self._stores.values():
            store.close()

    def honest(self, message: Message) -> Message:
        """What the device's own client answers."""
        # the client and its data are a function of what is asked, so that runs which differ in their liars alone
        # need not train the honest devices again
        node = message.metadata.dst_node_id
        asked = (node, key(message))
        if asked not in self._known:
            reply = handle(self._apps[node], message, node)
            if reply.has_error():
                return reply
            self._known[asked] = reply.content
        return Message(self._known[asked], reply_to=message)


class LocalGrid(Grid):  # type: ignore[misc]  # Flower is untyped
    """Flower's grid over a site; the network delivers at once, in the order it was asked."""

    def __init__(self, site: Site, *, liars: Iterable[str] = (), poison: Poison | None = None) -> None:
        self._site = site
        names = set(liars)
        self._liars = {member.node for member in site.members if member.device in names} if poison else set()
        self._poison = poison
        self._waiting: dict[str, Message] = {}

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("`speak_as` says which run this is")

    @property
    def run(self) -> Any:
        raise NotImplementedError("`speak_as` says which run this is")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> list[int]:
        return [member.node for member in self._site.members]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        pushed = {message.object_id: message for message in messages}
        self._waiting.update(pushed)
        return list(pushed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        return (self._answer(self._waiting.pop(name)) for name in message_ids if name in self._waiting)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        honest = self._site.honest(message)
        lies = message.metadata.dst_node_id in self._liars and message.metadata.message_type == fed.TRAIN
        if not lies or self._poison is None or honest.has_error():
            return honest
        return Message(self._poison.answer(message.content, honest.content), reply_to=message)
