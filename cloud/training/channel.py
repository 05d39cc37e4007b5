"""A Flower run as a channel to the nodes, held by a process of ours.

The one module that uses Flower's runtime client and `HttpGrid` privately: it takes the run's task as Flower's own
executor would, but neither fetches nor installs nor runs an app bundle.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from types import TracebackType
from typing import Any, Self

import httpx
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import context_from_proto, message_to_proto, metadata_from_proto, run_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.message_pb2 import Message as Head
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest as PullMessages
from flwr.proto.runtime_pb2 import PushAppMessagesRequest as PushMessages
from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest as Heartbeat
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectPushError, ObjectUnavailableError
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.retry import RetryInvoker, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from cloud.training.again import Questions
from cloud.training.control import Bearer, SuperLinkAddress
from cloud.training.heap import give_back, trim
from cloud.training.objects import in_lanes, put_together, take_apart
from shared import federation as fed
from shared.errors import ContractError, TransportError

POLL_S = 0.2
"""Flower's own grid sleeps 3 s between polls, more than a round of a small model takes."""

LARGER, SMALL_BYTES = 4, 64 << 20
"""A reply's array may be so many times as large as what was sent, or that large."""

PATIENCE_S = 900.0
"""How long a call is tried again while the SuperLink is away: it keeps its runs, and a job that waits costs nothing."""

CONTENT_S = 45.0
"""How long the next piece of a reply may take. A device that was killed after its head never sends the rest, and until
then no other reply is read; Flower waits 180 s, for all pieces together."""

RETURN_SHARE = 0.5
"""Share of a deadline for which a device that is away is waited for."""

UNAVAILABLE_S, LONGEST_PAUSE_S = 0.03, 1.0
"""First and longest pause when a reply's content is still on its way. Flower's own second is most of a round."""

_AWAY = frozenset({502, 503, 504})
_LOST = frozenset({ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})

log = logging.getLogger(__name__)


class PacedGrid(HttpGrid):
    """Flower's grid with our token, a quicker pace, and replies fetched and handed on one by one.

    It holds one reply, whatever the cohort: the SuperLink keeps the others until their turn.
    """

    def __init__(self, superlink: SuperLinkAddress, *, task_token: str) -> None:
        super().__init__(superlink.address, False, superlink.ca.read_bytes(), token=task_token)
        self._superlink = superlink
        self._longest = 0.0
        self._most = SMALL_BYTES
        self._retry_invoker = _retries()
        self._stale: set[str] = set()
        """Ids of questions that nobody waits for any more, and that may yet be answered."""
        self._turn: Generator[Message] | None = None
        self.closed: Callable[[], bool] = bool
        """Whether nobody wants more replies of those asked for last."""

    def _connect(self) -> None:
        self._client = _client(
            self._superlink, RuntimeTokenHttpInterceptor(token=self._token), retries=self._retry_invoker
        )

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; returns an id for each, empty for one that was not taken."""
        asked = list(messages)
        if not asked:
            return []
        self._most = max(SMALL_BYTES, *(LARGER * array_bytes(message) for message in asked))
        trees, objects = take_apart(asked)
        heads = [message_to_proto(remove_content_from_message(message)) for message in asked]
        answer = self._runtime_client.PushMessages(PushMessages(messages_list=heads, message_object_trees=trees))
        push = make_push_object_fn_protobuf(
            self._runtime_client.PushObject, self.node, self.run.run_id, answer.session_id
        )
        wanted = [name for name in answer.objects_to_push if name in objects]
        for _ in in_lanes(lambda name: push(name, objects[name].deflate()), wanted):
            pass
        return list(answer.message_ids)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Hand on what has been answered, each reply as it is wanted."""
        heads = list(self._heads(message_ids))
        try:
            while heads:
                head, tree = heads.pop(0)
                yield self._fetch(head, tree)
        finally:
            for head, _ in heads:  # which the SuperLink hands out no more
                self._confirm(head.metadata.message_id)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Push now; yield each reply as it comes, until all are here or `timeout` seconds are over.

        What was lost on the way is asked again (`cloud.training.again`), so that nobody's death costs a device its
        round.
        """
        self.end()
        asked = dict(enumerate(messages))
        return_s = RETURN_SHARE * timeout if timeout is not None else PATIENCE_S
        open_: Questions[int] = Questions(return_s=return_s, longest=self._longest)
        waiting = self._ask(asked)
        open_.ask(waiting.values(), at=time.monotonic())
        deadline = None if timeout is None else time.monotonic() + timeout
        self._turn = self._replies(asked, waiting, open_, deadline=deadline)
        return self._turn

    def forget(self, message_ids: Iterable[str]) -> None:
        """Wait for these no more: their content goes now, so that no device works on them in vain."""
        for name in message_ids:
            self._confirm(name)
            self._stale.add(name)
        self.prune()

    def end(self) -> None:
        """Ask nothing more."""
        if self._turn is not None:
            self._turn.close()
        self.prune()

    def prune(self) -> None:
        """Free what the SuperLink still keeps for questions whose answers nobody waits for.

        An answer that is there by now goes at once, one that comes later at the next time.
        """
        for head, _ in self._heads(self._stale):
            self._confirm(head.metadata.message_id)
            self._stale.discard(head.metadata.reply_to_message_id)

    def _ask(self, messages: dict[int, Message]) -> dict[str, int]:
        """Push; which question each message id stands for. What was not taken stays silent, and is asked again."""
        ids = self.push_messages(messages.values())
        return {id_: question for id_, question in zip(ids, messages, strict=True) if id_}

    def _replies(
        self, asked: dict[int, Message], waiting: dict[str, int], open_: Questions[int], *, deadline: float | None
    ) -> Generator[Message]:
        try:
            while open_ and not self.closed() and (deadline is None or time.monotonic() < deadline):
                arrived = False
                for message in self.pull_messages(waiting):
                    question = waiting.pop(message.metadata.reply_to_message_id, None)
                    if question is not None and _settles(message, question, open_):
                        arrived = True
                        yield message
                    del message  # before the next one is fetched: each may be as large as the model
                    trim()
                    if self.closed():
                        break
                self._longest = max(self._longest, open_.longest)
                if again := open_.due(at=time.monotonic()):
                    log.info("asking %d devices again", len(again))
                    waiting.update(self._ask({question: afresh(asked[question]) for question in again}))
                if open_ and not arrived:
                    time.sleep(POLL_S)
        except GeneratorExit:  # whoever asked wants no more
            self.forget(waiting)
            raise
        self.forget(waiting)

    def _heads(self, ids: Iterable[str]) -> Iterator[tuple[Head, ObjectTree]]:
        """Claim the answers to these messages."""
        names = list(ids)
        if not names:
            return iter(())
        answer = self._runtime_client.PullMessages(PullMessages(message_ids=names))
        return zip(answer.messages_list, answer.message_object_trees, strict=True)

    def _fetch(self, head: Head, tree: ObjectTree) -> Message:
        """The content of a reply, or an error in its place."""
        header = metadata_from_proto(head.metadata)
        until, given_up = time.monotonic() + CONTENT_S, Event()
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, self.run.run_id)

        def patiently(name: str) -> bytes:
            nonlocal until
            pause = UNAVAILABLE_S
            while not given_up.is_set() and time.monotonic() < until:
                try:
                    piece = bytes(pull(name))
                except ObjectUnavailableError:
                    given_up.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                else:
                    until = time.monotonic() + CONTENT_S
                    return piece
            raise ObjectPullError(name, "it did not come in time")

        try:
            message = put_together(tree, patiently, most=self._most)
        except ObjectPullError as error:
            return make_message(header, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, str(error)))
        except ContractError as error:
            message = make_message(header, error=Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)))
        finally:
            given_up.set()
        self._confirm(tree.object_id)
        # the SuperLink has checked the head against the node that signed it, and nobody the one in the content
        message.metadata.__dict__.update(vars(header))
        return message

    def _confirm(self, name: str) -> None:
        """Let the SuperLink forget a message's content."""
        request = ConfirmMessageReceivedRequest(node=self.node, run_id=self.run.run_id, message_object_id=name)
        self._runtime_client.ConfirmMessageReceived(request)


def array_bytes(message: Message) -> int:
    """Bytes of the arrays in a message."""
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def afresh(message: Message) -> Message:
    """The same question as a new message: SuperLink files messages by their content, so the nonce is another one."""
    content = RecordDict(dict(message.content))
    if isinstance(config := content.get(fed.CONFIG), ConfigRecord):
        content[fed.CONFIG] = ConfigRecord({**config, fed.NONCE: secrets.token_bytes(16)})
    header = message.metadata
    return Message(content, message_type=header.message_type, dst_node_id=header.dst_node_id, ttl=header.ttl)


def _settles(reply: Message, question: int, open_: Questions[int]) -> bool:
    """Whether a reply ends its question, rather than saying that it, or the device, got lost."""
    now = time.monotonic()
    if reply.has_error():
        if reply.error.code == ErrorCode.NODE_UNAVAILABLE:
            return not open_.away(question, at=now)
        if reply.error.code in _LOST or reply.error.reason == fed.LOST:
            open_.lost(question)
            return False
    return open_.answered(question, at=now)


class Channel:
    """The run that this process took; a context manager that tells Flower how it ended."""

    def __init__(self, superlink: SuperLinkAddress) -> None:
        """Take the oldest waiting task of any run.

        Raises:
            TransportError: the SuperLink does not answer, or has no task.
        """
        give_back()
        with naming_errors():
            self.grid = PacedGrid(superlink, task_token=_acquire(superlink))
            answer = self.grid._runtime_client.PullTaskInput(PullTaskInputRequest())
        run = run_from_proto(answer.run)
        self.grid.set_run(run)
        self.flower_run = int(run.run_id)
        self.context: Context = context_from_proto(answer.context)
        TaskIdentity.task_id = answer.task_id  # Flower's messages read the run from here, one per process
        TaskIdentity.run_id = run.run_id
        TaskIdentity.node_id = self.context.node_id
        self._heartbeat = HeartbeatSender(self._beat)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.stop()
        status = "completed" if error is None else "failed"
        self.grid._retry_invoker.max_tries = 1
        with suppress(httpx.HTTPError):  # the ledger is what counts; SuperLink misses our heartbeats and closes the run
            self.grid.end()
            self.grid._runtime_client.PushTaskOutput(
                PushTaskOutputRequest(context=None, sub_status=status, details=str(error or ""))
            )
        self.grid.close()

    def online(self) -> set[int]:
        """Ids of the nodes that beat lately.

        Raises:
            TransportError: the SuperLink does not answer.
        """
        with naming_errors():
            return {int(node.node_id) for node in self.grid.get_nodes()}

    def _beat(self) -> bool:
        try:
            return bool(self.grid._runtime_client.SendTaskHeartbeat(Heartbeat()).success)
        except httpx.HTTPError:
            return False


@contextmanager
def naming_errors() -> Iterator[None]:
    """Turn the HTTP client's errors into ours.

    Raises:
        TransportError: the SuperLink does not answer, or ended the run.
    """
    try:
        yield
    except (httpx.HTTPError, ObjectPullError, ObjectPushError) as error:
        raise TransportError(f"the SuperLink does not answer: {error}") from error


def _acquire(superlink: SuperLinkAddress) -> str:
    client = _client(superlink, retries=_retries())
    try:
        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    finally:
        client.close()
    if not answer.token:
        raise TransportError("the SuperLink has no run waiting")
    return str(answer.token)


def _client(superlink: SuperLinkAddress, *interceptors: Any, retries: RetryInvoker) -> RuntimeHttpClient:
    return RuntimeHttpClient.from_server_address(
        superlink.address,
        False,
        superlink.ca.read_bytes(),
        [Bearer(superlink.control_token), RuntimeVersionHttpInterceptor("flwr-serverapp"), *interceptors],
        retry_invoker=retries,
    )


def _retries() -> RetryInvoker:
    """Flower's own kills the process on a 401 and raises what no `except Exception` sees on a 403."""
    return RetryInvoker(
        lambda: exponential(base_delay=0.2, max_delay=5),
        httpx.HTTPError,
        max_tries=None,
        max_time=PATIENCE_S,
        should_giveup=lambda error: (
            isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in _AWAY
        ),
    )
