"""A Flower run as a channel to the nodes, held by a process of ours.

The one module that uses Flower's runtime client and `HttpGrid` privately: it takes the run's task as Flower's own
executor would, but neither fetches nor installs nor runs an app bundle.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import context_from_proto, run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest as Heartbeat
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectPushError, pull_objects
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.retry import RetryInvoker, exponential
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid, http_grid

from cloud.training.again import Questions
from cloud.training.control import Bearer, SuperLinkAddress
from shared import federation as fed
from shared.errors import TransportError

POLL_S = 0.2
"""Flower's own grid sleeps 3 s between polls, more than a round of a small model takes."""

SLICE = 8
SLICE_BYTES = 64 << 20
"""Replies fetched at a time, and how large they may be together: what a job holds in memory does not grow with the
cohort. A reply is taken to be as large as what was sent; a larger one comes alone."""

PATIENCE_S = 900.0
"""How long a call is tried again while the SuperLink is away: it keeps its runs, and a job that waits costs nothing."""

CONTENT_S = 45.0
"""How long the content of a reply may come after its head. A device that was killed between the two never sends it,
and until then no other reply is read; Flower waits 180 s."""

RETURN_SHARE = 0.5
"""Share of a deadline for which a device that is away is waited for."""

UNAVAILABLE_S = 0.03
"""First pause when a reply's content is still on its way. Flower's own second is most of a round."""

# `HttpGrid` takes no such arguments
http_grid.pull_objects = partial(pull_objects, initial_backoff=UNAVAILABLE_S, max_time=CONTENT_S)

_AWAY = frozenset({502, 503, 504})
_LOST = frozenset({ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE})

log = logging.getLogger(__name__)


class PacedGrid(HttpGrid):
    """Flower's grid with our token, a quicker pace, and replies handed on one by one as they arrive."""

    def __init__(self, superlink: SuperLinkAddress, *, task_token: str) -> None:
        super().__init__(superlink.address, False, superlink.ca.read_bytes(), token=task_token)
        self._superlink = superlink
        self._longest = 0.0
        self._retry_invoker = _retries()
        self.closed: Callable[[], bool] = bool
        """Whether nobody wants more replies of those asked for last."""

    def _connect(self) -> None:
        self._client = _client(
            self._superlink, RuntimeTokenHttpInterceptor(token=self._token), retries=self._retry_invoker
        )

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Push now; yield each reply as it comes, until all are here or `timeout` seconds are over.

        What was lost on the way is asked again (`cloud.training.again`), so that nobody's death costs a device its
        round.
        """
        asked = dict(enumerate(messages))
        return_s = RETURN_SHARE * timeout if timeout is not None else PATIENCE_S
        open_: Questions[int] = Questions(return_s=return_s, longest=self._longest)
        waiting = self._ask(asked)
        open_.ask(waiting.values(), at=time.monotonic())
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._replies(asked, waiting, open_, deadline=deadline)

    def _ask(self, messages: dict[int, Message]) -> dict[str, int]:
        """Push; which question each message id stands for. What was not taken stays silent, and is asked again."""
        ids = list(self.push_messages(list(messages.values()))) or [None] * len(messages)
        return {id_: question for id_, question in zip(ids, messages, strict=True) if id_}

    def _replies(
        self, asked: dict[int, Message], waiting: dict[str, int], open_: Questions[int], *, deadline: float | None
    ) -> Iterator[Message]:
        together = replies_together(max(map(array_bytes, asked.values()), default=0))
        while open_ and not self.closed() and (deadline is None or time.monotonic() < deadline):
            arrived = False
            ids = list(waiting)
            for start in range(0, len(ids), together):
                pulled = list(self.pull_messages(ids[start : start + together]))
                while pulled:
                    message = pulled.pop(0)
                    question = waiting.pop(message.metadata.reply_to_message_id, None)
                    if question is not None and _settles(message, question, open_):
                        arrived = True
                        yield message
                    del message  # before the next ones are fetched: each may be as large as the model
            self._longest = max(self._longest, open_.longest)
            if again := open_.due(at=time.monotonic()):
                log.info("asking %d devices again", len(again))
                waiting.update(self._ask({question: afresh(asked[question]) for question in again}))
            if open_ and not arrived:
                time.sleep(POLL_S)


def array_bytes(message: Message) -> int:
    """Bytes of the arrays in a message."""
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def replies_together(size: int) -> int:
    """How many replies of `size` bytes may be fetched at a time: at least one."""
    return max(1, min(SLICE, SLICE_BYTES // max(size, 1)))


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
        self._failure = ""
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
