"""A node's connection to the SuperLink: fetch a message, hand in a reply, say every now and then “still here”.

The one module that uses Flower's fleet client privately. Flower's own loop around it ends the process when the
SuperLink is away at the start or refuses a heartbeat; here every failure is an error of ours, and the caller
decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flwr.app import Error, Message, Metadata
from flwr.app.message import array as flwr_array
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from google.protobuf.message import DecodeError

from shared.errors import FaultError, RefusedError, TransportError

log = logging.getLogger(__name__)

T = TypeVar("T")

ANNOUNCED_S = HEARTBEAT_MIN_INTERVAL
"""SuperLink counts a node as gone after twice this: the sooner, the sooner a round stops waiting for it."""

HEARTBEAT_S = ANNOUNCED_S / 2.5

UNAVAILABLE_S = 0.03
"""First pause when a message's content is still on its way. Flower's own second is most of a round."""

CHUNK_BYTES = 1 << 20
"""Pieces in which arrays travel. Whoever puts them together holds each piece five times over; Flower's are 5 MiB."""

flwr_array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE = CHUNK_BYTES

_AWAY = frozenset({429, 502, 503, 504})


class FleetConnection:
    """An active node; a context manager that says goodbye at the end."""

    def __init__(self, address: str, *, ca: Path, key: Path, known: int | None = None) -> None:
        """Connect to `host:port` and become active as the node that holds `key` (PEM, a NIST curve).

        Args:
            address: of the SuperLink.
            ca: PEM certificates that may sign its own.
            key: PEM private key.
            known: the node's id, if it was active before. SuperLink activates no node that it still counts as
                active, so one that left without a goodbye must know who it was.

        Raises:
            FaultError: the key or the CA file cannot be read.
            TransportError: the SuperLink does not answer.
            RefusedError: it does not know this key.
        """
        private, authorities = _read_key(key), _read(ca)
        signing = NodeAuthHttpInterceptor(private, private.public_key())
        self._client = FleetHttpClient.from_server_address(address, False, authorities, [signing])
        self._silent = threading.Event()
        try:
            self.node = self._activate(public_key_to_bytes(private.public_key()), known)
        except BaseException:
            self._client.close()
            raise
        self._self = Node(node_id=self.node)
        self._last: dict[str, bytes] = {}
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._silent.set()
        try:
            if error is None or isinstance(error, SystemExit):
                # only when leaving for good: SuperLink answers for an inactive node that it is not to be had,
                # and after an error this one is back in a moment
                self._client.DeactivateNode(DeactivateNodeRequest(node_id=self.node))
        except (httpx.HTTPError, RuntimeError) as goodbye:
            log.debug("no goodbye: %s", goodbye)
        finally:
            self._client.close()

    def receive(self, owed: Callable[[bytes], None] = lambda _head: None) -> Message | None:
        """Fetch the next message with all its content, or None when there is none.

        A message whose run ended on its way here is none.

        Args:
            owed: told a message's head before its content is fetched: from then on only this node can answer it.

        Raises:
            TransportError: the SuperLink does not answer.
            RefusedError: it refuses this node.
        """
        answer = _call(self._client.PullMessages, PullMessagesRequest(node=self._self))
        if not answer.messages_list:
            return None
        owed(answer.messages_list[0].SerializeToString())
        try:
            return self._fetch(message_from_proto(answer.messages_list[0]).metadata, answer.message_object_trees[0])
        except RefusedError as error:
            log.info("a message could not be fetched: %s", error)
            return None

    def _fetch(self, header: Metadata, tree: ObjectTree) -> Message:
        pulled: dict[str, bytes] = {}
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self._self, header.run_id)
        confirm = make_confirm_message_received_fn_protobuf(
            self._client.ConfirmMessageReceived, self._self, header.run_id
        )
        message: Message = _call(
            lambda objects: pull_and_inflate_object_from_tree(
                objects,
                self._remembering(pull, pulled),
                confirm,
                return_type=Message,
                initial_backoff=UNAVAILABLE_S,
            ),
            tree,
        )
        self._last = pulled
        message.metadata.__dict__["_message_id"] = header.message_id
        return message

    def confess(self, head: bytes, reason: str) -> None:
        """Answer the message with this head by an error, so that it can be asked again; heads are from `receive`.

        Raises:
            TransportError: the SuperLink does not answer.
            RefusedError: nobody waits for an answer any more.
        """
        try:
            asked = message_from_proto(MessageProto.FromString(head))
        except (DecodeError, ValueError) as error:
            raise RefusedError(f"this is no message's head: {error}") from error
        lost = Error(code=ErrorCode.CLIENT_APP_CRASHED, reason=reason)
        self.reply(Message(lost, reply_to=asked), seconds=0.0)

    def reply(self, message: Message, *, seconds: float) -> None:
        """Hand in a reply that took `seconds` to make; may be repeated after a `TransportError`.

        Raises:
            TransportError: the SuperLink does not answer.
            RefusedError: nobody waits for this reply any more.
        """
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            request = PushMessagesRequest(
                node=self._self,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
                clientapp_runtime_list=[seconds],
            )
            objects = get_all_nested_objects(message)
            answer = _call(self._client.PushMessages, request)
            push = make_push_object_fn_protobuf(
                self._client.PushObject, self._self, message.metadata.run_id, answer.session_id
            )
            wanted = set(answer.objects_to_push)
            _call(lambda contents: push_objects(contents, push, object_ids_to_push=wanted), objects)

    def _activate(self, public_key: bytes, known: int | None) -> int:
        request = ActivateNodeRequest(public_key=public_key, heartbeat_interval=ANNOUNCED_S)
        try:
            return int(_call(self._client.ActivateNode, request).node_id)
        except RefusedError:
            if known is None or not self._is_active(known):
                raise
            return known

    def _is_active(self, node: int) -> bool:
        request = SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=ANNOUNCED_S)
        try:
            return bool(_call(self._client.SendNodeHeartbeat, request).success)
        except RefusedError:
            return False

    def _remembering(self, pull: Callable[[str], bytes], pulled: dict[str, bytes]) -> Callable[[str], bytes]:
        """Fetch only what the last message did not bring: the weights to evaluate are those to train on next.

        Objects are named by their content, so one of the same name is the same.
        """

        def fetch(name: str) -> bytes:
            pulled[name] = self._last[name] if name in self._last else pull(name)
            return pulled[name]

        return fetch

    def _beat(self) -> None:
        request = SendNodeHeartbeatRequest(node=self._self, heartbeat_interval=ANNOUNCED_S)
        while not self._silent.wait(HEARTBEAT_S):
            try:
                self._client.SendNodeHeartbeat(request)
            except (httpx.HTTPError, RuntimeError) as error:
                log.debug("no heartbeat: %s", error)  # `receive` meets the same failure and the caller acts


def _call(call: Callable[[Any], T], argument: Any) -> T:
    try:
        return call(argument)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _AWAY:
            raise TransportError(f"the SuperLink is busy: {error}") from error
        raise RefusedError(
            f"the SuperLink refuses ({error.response.status_code}): {error.response.text[:200]}",
            hint="Is this device enrolled, and is its clock right? SuperLink takes 5 s ahead and 5 min behind.",
        ) from error
    except (ObjectPullError, ObjectPushError) as error:
        raise RefusedError(f"the SuperLink dropped the message: {error}") from error
    except (httpx.HTTPError, RuntimeError) as error:
        raise TransportError(f"the SuperLink does not answer: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FaultError(f"{path} cannot be read: {error}") from error


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(_read(path), password=None)
    except ValueError as error:
        raise FaultError(f"{path} holds no private key: {error}") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise FaultError(f"{path} holds no elliptic-curve key, which Flower's nodes need")
    return key
