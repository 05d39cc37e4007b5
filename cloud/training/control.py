"""Flower's control interface: register nodes, start and stop runs.

The one module that uses Flower's control client privately.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from cloud.training.superlink import quieten
from shared.errors import ContractError, RefusedError, TransportError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkAddress:
    """How the coordinator's own processes reach the SuperLink."""

    address: str
    """`host:port`."""

    ca: Path
    """PEM certificates that may sign the SuperLink's."""

    control_token: str


class Bearer:
    """Shows the control token with every call (an interceptor of Flower's protobuf client)."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        """Add the header and pass the call on."""
        context.request.headers["authorization"] = self._value
        return call_next(context)


class FlowerControl:
    """A client of one SuperLink; safe to share between threads, closed by `close`."""

    def __init__(self, superlink: SuperLinkAddress) -> None:
        quieten()
        from flwr.supercore.control.control_http_client import ControlHttpClient

        self._client = ControlHttpClient.from_server_address(
            superlink.address, False, superlink.ca.read_bytes(), [Bearer(superlink.control_token)]
        )

    def register_node(self, public_key: bytes | str) -> int:
        """Let the holder of a key in as a node; return its id, the same one each time.

        Args:
            public_key: PEM of an elliptic-curve key on a NIST curve; P-256 will do.

        Raises:
            ContractError: no such key.
            TransportError: the SuperLink does not answer.
            RefusedError: it refuses.
        """
        from flwr.proto.control_pb2 import RegisterNodeRequest
        from flwr.supercore.error import ApiErrorCode

        pem = _canonical(public_key)
        try:
            return int(self._call(self._client.RegisterNode, RegisterNodeRequest(public_key=pem)).node_id)
        except _FlowerRefusedError as refusal:
            if refusal.flower_code != ApiErrorCode.PUBLIC_KEY_ALREADY_IN_USE:
                raise
        return self._node_of(pem)

    def unregister_node(self, node: int) -> None:
        """Shut a node out, as when its device is revoked.

        Raises:
            TransportError: the SuperLink does not answer.
            RefusedError: it refuses, for one that it does not know the node.
        """
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._call(self._client.UnregisterNode, UnregisterNodeRequest(node_id=node))

    def start_run(self) -> int:
        """Open a Flower run and return its id.

        It only is a channel to the nodes, with one task that a job process of ours takes; which job takes which
        makes no difference.

        Raises:
            TransportError: the SuperLink does not answer.
            RefusedError: it refuses.
        """
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab

        return int(self._call(self._client.StartRun, StartRunRequest(fab=Fab(content=empty_bundle()))).run_id)

    def stop_run(self, flower_run: int) -> bool:
        """Close a Flower run and free what its messages hold; False if it is unknown or over already.

        Raises:
            TransportError: the SuperLink does not answer.
        """
        from flwr.proto.control_pb2 import ListRunsRequest, StopRunRequest

        try:
            stopped = bool(self._call(self._client.StopRun, StopRunRequest(run_id=flower_run)).success)
            if not stopped:  # one that ended by itself keeps its messages until somebody looks at it
                self._call(self._client.ListRuns, ListRunsRequest(run_id=flower_run))
        except RefusedError:
            return False
        return stopped

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _node_of(self, pem: bytes) -> int:
        from flwr.proto.control_pb2 import ListNodesRequest

        for node in self._call(self._client.ListNodes, ListNodesRequest()).nodes_info:
            if node.public_key == pem:
                return int(node.node_id)
        raise RefusedError(
            "the SuperLink had this key as a node and removed it",
            hint="A removed key stays out; enrol the device again with a new one.",
        )

    def _call(self, call: Callable[[Any], T], request: Any) -> T:
        import httpx
        from flwr.supercore.error import FlowerError

        try:
            return call(request)
        except httpx.HTTPStatusError as error:
            flower = FlowerError.from_json(error.response.text)
            said = flower.message if flower else error.response.text[:200]
            raise _FlowerRefusedError(f"the SuperLink refuses: {said}", flower.code if flower else 0) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise TransportError(f"the SuperLink does not answer: {error}") from error


class _FlowerRefusedError(RefusedError):
    def __init__(self, message: str, flower_code: int) -> None:
        super().__init__(message, hint="Is the control token of both sides the same?")
        self.flower_code = flower_code


def empty_bundle() -> bytes:
    """Flower's app bundle without an app: the format asks for one, no process of ours opens it.

    The same bytes each time, so that the SuperLink stores one.
    """
    project = (
        '[project]\nname = "hinterland"\nversion = "1"\ndescription = "A channel"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "hinterland"\n'
        '[tool.flwr.app.components]\nserverapp = "none:none"\nclientapp = "none:none"\n'
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("pyproject.toml", date_time=(1980, 1, 1, 0, 0, 0)), project)
    return buffer.getvalue()


def _canonical(public_key: bytes | str) -> bytes:
    """The PEM that a node itself will send: Flower compares bytes, not keys."""
    data = public_key.encode() if isinstance(public_key, str) else public_key
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ContractError(f"no public key in PEM: {error}") from error
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
