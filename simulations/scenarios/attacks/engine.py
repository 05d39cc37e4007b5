"""Family `engine`: Flower's SuperLink, reached by whoever can reach its port.

Behind its doors it asks no credential of whoever starts a run or takes a task; that it is reached only with our token,
and that a device executes nothing that a run brings, is what is tried here.
"""

from __future__ import annotations

import datetime
import io
import socket
import ssl
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.training.control import FlowerControl, SuperLinkAddress
from cloud.training.doors import DEVICE_CALLS, MAX_DEVICE_BODY
from shared.errors import HinterlandError, RefusedError
from simulations.scenarios.attacks.ground import WATCHES, Ground
from simulations.scenarios.attacks.nodes import Trainer, connection, superlink
from simulations.scenarios.attacks.row import Attack, Seen, Threat
from simulations.scenarios.attacks.session import PATIENCE_S, wait
from simulations.world.ports import LOOPBACK

PROTOBUF = {"content-type": "application/protobuf", "accept": "application/protobuf"}
NODE, OTHER = "node-1", "node-2"
STALE_S = 400.0
"""Age of a recorded signature; SuperLink takes 300 s and a little."""


def attacks(ground: Ground) -> Iterator[Attack]:
    """Two enrolled devices, one in the attacker's hands, and a trainer whose device must stay clean."""
    for device in (NODE, OTHER):
        ground.enrol(device, fleet=WATCHES)
    wait(lambda: all(ground.client.device(d).node for d in (NODE, OTHER)), what="the nodes' registration")
    own = "the same call with the coordinator's token: let in"
    for name, done, paths in _doors():
        for kind, headers in (("", {}), ("-with-a-guess", {"authorization": f"Bearer {'x' * 43}"})):
            yield _attack(
                f"{name}{kind}",
                f"{done}, {'with a guessed token' if kind else 'without our token'}",
                own,
                _knocking(ground, paths, headers),
            )
    yield _attack(
        "device-starts-a-run",
        "called the control interface with a good node's signature",
        own,
        lambda: _knock(ground, ["/v1/control/start-run", "/v1/runtime/acquire-task"], _signed(ground, NODE)),
    )
    yield _attack(
        "flowers-own-client",
        "started a run with Flower's own control client and a token of the attacker's",
        "the coordinator's own: registers a node",
        lambda: _own_client(ground),
    )
    for name, done, act in _devices(ground):
        yield _attack(name, done, "a good node with a fresh signature: answered", act)
    yield from _with_the_token(ground)


def _attack(name: str, done: str, control: str, act: Callable[[], Seen]) -> Attack:
    return Attack(name=name, threat=Threat.ENGINE, victim="SuperLink", done=done, control=control, act=act)


def _doors() -> Iterator[tuple[str, str, list[str]]]:
    yield (
        "control",
        "asked to start, list and stop runs",
        [
            "/v1/control/start-run",
            "/v1/control/list-runs",
            "/v1/control/stop-run",
            "/v1/control/stream-logs",
        ],
    )
    yield (
        "runtime",
        "asked for tasks, their input and the nodes, and pushed messages and results",
        [
            "/v1/runtime/acquire-task",
            "/v1/runtime/pull-task-input",
            "/v1/runtime/get-nodes",
            "/v1/runtime/push-messages",
            "/v1/runtime/push-task-output",
        ],
    )
    yield (
        "register",
        "registered and removed nodes, and fetched an app bundle",
        [
            "/v1/fleet/register-node",
            "/v1/fleet/unregister-node",
            "/v1/control/register-node",
            "/v1/fleet/get-fab",
        ],
    )
    yield (
        "odd-paths",
        "spelled shut doors in other ways",
        [
            "/v1/fleet/../control/start-run",
            "//v1/control/start-run",
            "/v1/control/start-run/",
            "/v1/fleet/%2e%2e/control/start-run",
            "/V1/control/start-run",
            "/docs",
            "/openapi.json",
        ],
    )


def _http(ground: Ground, headers: Mapping[str, str]) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(ground.world.layout.ca))
    url = f"https://{LOOPBACK}:{ground.world.ports[2]}"
    return httpx.Client(
        base_url=url, verify=context, headers={**PROTOBUF, **headers}, trust_env=False, timeout=PATIENCE_S
    )


def _knocking(ground: Ground, paths: list[str], headers: Mapping[str, str]) -> Callable[[], Seen]:
    return lambda: _knock(ground, paths, headers)


def _knock(ground: Ground, paths: list[str], headers: Mapping[str, str]) -> Seen:
    answers = [(path, *_raw(ground, path, headers)) for path in paths]
    token = ground.world.layout.control_token.read_text().strip()
    with _http(ground, {"authorization": f"Bearer {token}"}) as http:
        honest = http.post("/v1/control/list-runs")
    let_in = [path for path, status, _ in answers if status not in (400, 401, 403, 404)]
    shut = sum(status == httpx.codes.UNAUTHORIZED for _, status, _ in answers)
    return Seen(
        refused=not let_in and shut > 0,
        error=answers[0][2],
        observed=f"{shut} of {len(answers)} answered 401; let in: {', '.join(let_in) or 'none'}",
        accepted="this door is for the coordinator" not in honest.text and honest.status_code < 500,
    )


def _raw(ground: Ground, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Post nothing to a path exactly as it is written, which HTTP libraries would tidy up; return status and body."""
    head = {**PROTOBUF, "host": LOOPBACK, "content-length": "0", "connection": "close", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    context = ssl.create_default_context(cafile=str(ground.world.layout.ca))
    with (
        socket.create_connection((LOOPBACK, ground.world.ports[2]), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=LOOPBACK) as tls,
    ):
        tls.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := tls.recv(65_536):
            answer += piece
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2].decode(errors="replace")


def _signed(ground: Ground, device: str, *, age: float = 0.0, key: ec.EllipticCurvePrivateKey | None = None) -> Any:
    """The headers by which a node shows who it is, made `age` seconds ago."""
    from flwr.common.constant import TIMESTAMP_HEADER
    from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

    private = key or load_pem_private_key(ground.identities[device].key_file.read_bytes(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)  # noqa: S101  a device's key is one
    at = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)).isoformat()
    signature = sign_message(private, at.encode("ascii"))
    return {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(private.public_key())).decode("ascii"),
        TIMESTAMP_HEADER: at,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
    }


def _own_client(ground: Ground) -> Seen:
    layout, error = ground.world.layout, ""
    address = f"{LOOPBACK}:{ground.world.ports[2]}"
    thief = FlowerControl(SuperLinkAddress(address=address, ca=layout.ca, control_token="y" * 43))
    try:
        thief.start_run()
    except RefusedError as refusal:
        error = f"{refusal.code}: {refusal}"
    finally:
        thief.close()
    return Seen(
        refused=bool(error),
        error=error,
        observed="no run was started",
        accepted=bool(ground.client.device(NODE).node),
    )


def _devices(ground: Ground) -> Iterator[tuple[str, str, Callable[[], Seen]]]:
    yield "unsigned-calls", "made every call of a device without a signature", lambda: _unsigned(ground)
    yield (
        "stale-signature",
        f"replayed a node's signature that is {STALE_S:.0f} s old",
        lambda: _pull(ground, _signed(ground, NODE, age=STALE_S)),
    )
    yield (
        "signature-from-tomorrow",
        "showed a signature from an hour ahead, to be kept for later",
        lambda: _pull(ground, _signed(ground, NODE, age=-3600.0)),
    )
    yield "unregistered-node", "came as a node with a key that nobody enrolled", lambda: _unregistered(ground)
    yield "anothers-messages", "asked for another node's messages with its own signature", lambda: _anothers(ground)
    yield "huge-body", f"announced a body of {(MAX_DEVICE_BODY >> 20) + 1} MiB", lambda: _huge(ground)


def _pull_request(ground: Ground, device: str) -> bytes:
    from flwr.proto.fleet_pb2 import PullMessagesRequest
    from flwr.proto.node_pb2 import Node

    request = PullMessagesRequest(node=Node(node_id=int(ground.client.device(device).node)))
    return bytes(request.SerializeToString())


def _honest_pull(ground: Ground) -> bool:
    """A device of ours becomes active, and asks for its messages."""
    with connection(ground.identities[OTHER]) as link:
        return link.receive() is None


def _pull(ground: Ground, headers: Mapping[str, str]) -> Seen:
    with _http(ground, headers) as http:
        answer = http.post("/v1/fleet/pull-messages", content=_pull_request(ground, NODE))
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=answer.text,
        observed=f"status {answer.status_code}",
        accepted=_honest_pull(ground),
    )


def _unsigned(ground: Ground) -> Seen:
    with _http(ground, {}) as http:
        answers = [http.post(path) for path in sorted(DEVICE_CALLS)]
    closed = [each for each in answers if 400 <= each.status_code < 500]
    return Seen(
        refused=len(closed) == len(answers),
        error=answers[0].text,
        observed=f"{len(closed)} of {len(answers)} calls refused",
        accepted=_honest_pull(ground),
    )


def _unregistered(ground: Ground) -> Seen:
    path, error = ground.world.directory / "stranger.key", ""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        with connection(ground.identities[NODE], key=path):
            pass
    except HinterlandError as refusal:
        error = f"{refusal.code}: {refusal}"
    return Seen(refused=bool(error), error=error, observed="it did not become active", accepted=_honest_pull(ground))


def _anothers(ground: Ground) -> Seen:
    with _http(ground, _signed(ground, NODE)) as http:
        answer = http.post("/v1/fleet/pull-messages", content=_pull_request(ground, OTHER))
    return Seen(
        refused=400 <= answer.status_code < 500,
        error=answer.text,
        observed=f"status {answer.status_code}",
        accepted=_honest_pull(ground),
    )


def _huge(ground: Ground) -> Seen:
    length = {"content-length": str(MAX_DEVICE_BODY + (1 << 20))}
    status, said = _raw(ground, "/v1/fleet/push-object", {**_signed(ground, NODE), **length})
    return Seen(refused=status in (400, 413), error=said, observed=f"status {status}", accepted=_honest_pull(ground))


def _with_the_token(ground: Ground) -> Iterator[Attack]:
    """The worst case: the control token was stolen, and foreign code is pushed to every node."""
    trainer = Trainer(ground, "clean-1", seed=5)
    trainer.start()
    trainer.wait()
    try:
        yield Attack(
            name="pushed-code",
            threat=Threat.ENGINE,
            victim="device",
            done="started a run with an app of the attacker's and the stolen control token, and sent its message to a "
            "device",
            control="the device goes on listening, and answers a proper question of the same run",
            act=lambda: _push_code(ground, trainer),
        )
    finally:
        trainer.process.kill()


def _push_code(ground: Ground, trainer: Trainer) -> Seen:
    from flwr.app import ConfigRecord, Message, RecordDict

    from cloud.training.asking import Roster
    from cloud.training.channel import Channel
    from cloud.training.spec import Member
    from shared import federation as fed

    canary = ground.world.directory / "executed"
    address = superlink(ground)
    _start_with(address, _bundle(canary))
    roster = Roster([Member(device=trainer.device, node=trainer.node)], task="activity", ttl_s=60)
    with Channel(address) as channel:
        wait(lambda: trainer.node in channel.online(), what="the trainer at the SuperLink")
        evil = Message(
            RecordDict({fed.CONFIG: ConfigRecord({"run": f"open({str(canary)!r}, 'w')"})}),
            dst_node_id=trainer.node,
            message_type=fed.TRAIN,
        )
        (answer,) = list(channel.grid.send_and_receive([evil], timeout=PATIENCE_S))
        honest = list(channel.grid.send_and_receive([roster.ask(fed.MOMENTS, trainer.device)], timeout=PATIENCE_S))
    error = answer.error.reason if answer.has_error() else ""
    return Seen(
        refused=bool(error) and not canary.exists(),
        error=error,
        observed=f"canary {'there' if canary.exists() else 'absent'}; the trainer {_life(trainer)}",
        accepted=len(honest) == 1 and not honest[0].has_error(),
    )


def _life(trainer: Trainer) -> str:
    return "still runs" if trainer.process.exit_code is None else "has ended"


def _start_with(address: SuperLinkAddress, bundle: bytes) -> None:
    """Flower's own call, with an app bundle of the attacker's."""
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab
    from flwr.supercore.control.control_http_client import ControlHttpClient

    from cloud.training.control import Bearer

    client = ControlHttpClient.from_server_address(
        address.address, False, address.ca.read_bytes(), [Bearer(address.control_token)]
    )
    try:
        client.StartRun(StartRunRequest(fab=Fab(content=bundle)))
    finally:
        client.close()


def _bundle(canary: Path) -> bytes:
    """A well-formed Flower app whose client makes `canary` as it is imported."""
    from cloud.training.control import empty_bundle

    source = f"from pathlib import Path\nPath({str(canary)!r}).touch()\n"
    with zipfile.ZipFile(io.BytesIO(empty_bundle())) as honest:
        members = {name: honest.read(name) for name in honest.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**members, "app/client_app.py": source.encode(), "app/__init__.py": source.encode()}.items():
            archive.writestr(name, data)
    return buffer.getvalue()
