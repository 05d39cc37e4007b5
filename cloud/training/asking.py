"""Messages to devices and their answers: who is addressed, and what a reply is worth."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from cloud.training.spec import Member
from shared import federation as fed
from shared.codec import pack, unpack
from shared.errors import ContractError, RefusedError
from shared.federation import Instruction
from shared.tasks.records import Form, to_record
from shared.tasks.weights import form

T = TypeVar("T")


class Carried(NamedTuple):
    """Weights ready to be sent to many devices: encoded once."""

    record: ArrayRecord
    form: Form


def carry(weights: Mapping[str, NDArray[np.float32]]) -> Carried:
    """Encode weights."""
    return Carried(to_record(weights), form(weights))


class VetoedError(RefusedError):
    """The device's owner does not allow it: no failure, and nothing against the device."""


class Roster:
    """The devices of a run and the nodes they are reached at."""

    def __init__(
        self,
        members: Iterable[Member],
        *,
        task: str,
        ttl_s: float,
        run: str = "",
        model: str = "",
        purpose: str = "",
    ) -> None:
        """Address `members`; a message that waited for its node longer than `ttl_s` is not delivered any more.

        `run`, `model` and `purpose` are told to every device with whatever it is asked.
        """
        self.members = {member.device: member for member in members}
        self._devices = {member.node: member.device for member in self.members.values()}
        self._about: dict[str, Any] = {"task": task, "run": run, "model": model, "purpose": purpose}
        self._ttl_s = ttl_s

    def ask(
        self,
        kind: str,
        device: str,
        *,
        weights: Carried | None = None,
        fields: Mapping[str, bytes | str] | None = None,
        **instruction: Any,
    ) -> Message:
        """Build one message; `instruction` fills the fields of `Instruction`."""
        member = self.members[device]
        shapes = weights.form if weights else {}
        packed = pack(Instruction(labels=member.labels, form=shapes, **(self._about | instruction)))
        config = ConfigRecord({fed.INSTRUCTION: packed, fed.NONCE: secrets.token_bytes(16), **(fields or {})})
        content = RecordDict({fed.CONFIG: config})
        if weights is not None:
            content[fed.ARRAYS] = weights.record
        return Message(content=content, message_type=kind, dst_node_id=member.node, ttl=self._ttl_s)

    def answers(self, replies: Iterable[Message]) -> Iterator[tuple[str, Message]]:
        """Name the device of each reply, as it arrives; what no member sent is dropped."""
        for reply in replies:
            device = self._devices.get(reply.metadata.src_node_id)
            if device is not None:
                yield device, reply
            del reply  # before the next one is fetched: each may be as large as the model


def content_of(reply: Message) -> RecordDict:
    """What a device answered.

    Raises:
        VetoedError: its owner does not allow it.
        RefusedError: it could not do what it was asked; the message is the device's own.
    """
    if reply.has_error():
        if reply.error.code == fed.VETOED:
            raise VetoedError(f"its owner does not allow it: {reply.error.reason}"[:300])
        raise RefusedError(f"the device reports: {reply.error.reason}"[:300])
    return reply.content


def read_answer(reply: Message, kind: type[T]) -> T:
    """Decode the answer to a query.

    Raises:
        RefusedError: there is none of that kind.
    """
    record = content_of(reply).get(fed.CONFIG)
    data = record.get(fed.ANSWER) if isinstance(record, ConfigRecord) else None
    if not isinstance(data, bytes):
        raise RefusedError("the reply holds no answer")
    try:
        return unpack(data, kind)
    except ContractError as error:
        raise RefusedError(str(error)) from error
