"""A real federation on loopback: SuperLink with TLS and node authentication, three node processes, real jobs."""

import signal
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from federation import TOKEN, Federation, make_key, public_pem

from cloud.models.line import LocalRecipe
from cloud.training.control import FlowerControl, SuperLinkAddress, empty_bundle
from cloud.training.doors import DEVICE_CALLS
from cloud.training.events import (
    AttemptStarted,
    PhaseStarted,
    QueryRefused,
    RoundFinished,
    RoundStarted,
    UpdateAccepted,
    UpdateRefused,
)
from cloud.training.ledger import RunLedger
from cloud.training.pace import Pace
from cloud.training.result import read_result
from cloud.training.spec import Member, RunSpec, write_spec
from cloud.training.staleness import Buffer
from edge.training.connection import FleetConnection
from shared.errors import ContractError, RefusedError, TransportError
from shared.ids import sha256
from shared.task import Examples
from shared.tasks.weights import unpack_weights, weights_digest
from tests.in_process_run import devices, run

pytestmark = pytest.mark.system

START = "weights.npz"
DEVICES = ("watch-1", "watch-2", "watch-3")


def examples(seed, count):
    """Windows whose class shows in the phase of a wave, as every device sees it, and in an offset of its own."""
    source = np.random.default_rng(seed)
    y = source.integers(0, 7, count)
    time_axis = np.arange(100) / 50
    wave = np.sin(2 * np.pi * (0.5 + y[:, None, None]) * time_axis + np.arange(6)[None, :, None])
    return Examples((wave + source.normal(0, 0.3, (count, 6, 100)) + seed / 50).astype(np.float32), y)


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("federation"))
    try:
        federation.start_superlink()
        federation.members = [
            federation.enrol(device, "activity", examples(seed, 100), examples(seed + 10, 40))
            for seed, device in enumerate(DEVICES)
        ]
        for device in DEVICES:
            federation.start_trainer(device)
        yield federation
    finally:
        federation.stop()


def spec(federation, run, **changes):
    fields = {"seed": 7, "rounds": 2, "local": LocalRecipe(epochs=2, batch_size=16, learning_rate=0.05)}
    return RunSpec(**{"run": run, "task": "activity", "members": federation.members, **fields, **changes})


def finish(federation, run, **changes):
    """Run a job to its end; return (result, ledger)."""
    directory = federation.directory / run
    write_spec(directory, spec(federation, run, **changes))
    job = federation.start_job(directory, run)
    assert job.wait(300) == 0, federation.log_of(run)
    return read_result(directory), RunLedger(directory)


@pytest.fixture(scope="module")
def first(federation):
    return finish(federation, "run-1")


def test_each_round_has_its_metrics(federation, first):
    result, ledger = first
    assert [event.round for event in result.rounds] == [1, 2]
    for event in result.rounds:
        assert event.devices.keys() == set(DEVICES)
        assert all(score.examples == 40 for score in event.devices.values())
        assert (event.accepted, event.refused) == (3, 0)
    assert result.rounds[1].loss < result.rounds[0].loss
    phases = [event.phase for event in ledger.events() if isinstance(event, PhaseStarted)]
    assert phases == ["gather", "statistics", "rounds", "export", "calibrate", "quantise", "judge"]


def test_the_result_names_files_that_are_there_and_were_judged_by_the_devices(federation, first):
    result, ledger = first
    for name, artefact in result.files.items():
        data = (ledger.directory / name).read_bytes()
        assert (sha256(data), len(data)) == (artefact.digest, artefact.size)
    weights = unpack_weights((ledger.directory / "weights.npz").read_bytes())
    assert weights_digest(weights) == result.digest == result.rounds[-1].digest
    assert result.devices == dict.fromkeys(DEVICES, 100)
    assert result.scores.training.examples == 120
    assert result.scores.training.correct == sum(s.correct for s in result.rounds[-1].devices.values())
    assert result.scores.parity < 1e-3
    assert result.scores.variants["cpu-fp32.onnx"].agreement == 1.0
    assert set(result.admitted) | set(result.refused) == {"cpu-fp32.onnx", "cpu-int8.onnx"}


def test_normalisation_is_that_of_all_devices_together(federation, first):
    weights = unpack_weights((first[1].directory / "weights.npz").read_bytes())
    x = np.concatenate([examples(seed, 100).x for seed in range(3)]).astype(np.float64)
    assert np.allclose(weights["normalise.mean"].ravel(), x.mean(axis=(0, 2)), atol=1e-5)
    assert np.allclose(weights["normalise.deviation"].ravel(), x.std(axis=(0, 2)), atol=1e-5)


def test_a_job_that_is_killed_goes_on_and_ends_with_the_same_model(federation, first):
    """kill -9 after the first committed round: the next attempt repeats nothing and changes nothing."""
    directory = federation.directory / "run-2"
    write_spec(directory, spec(federation, "run-2"))
    ledger = RunLedger(directory)
    job = federation.start_job(directory, "run-2")
    while not any(isinstance(event, RoundFinished) for event in ledger.events()):
        assert job.poll() is None, federation.log_of("run-2")
        time.sleep(0.02)
    job.kill()
    job.wait()
    assert read_result(directory) is None
    again = federation.start_job(directory, "run-2-again")
    assert again.wait(300) == 0, (federation.log_of("run-2-again"), ledger.events())
    assert read_result(directory).digest == first[0].digest
    attempts = [event.from_round for event in ledger.events() if isinstance(event, AttemptStarted)]
    assert attempts[0] == 1
    assert len(attempts) == 2
    rounds = [event.round for event in ledger.events() if isinstance(event, RoundFinished)]
    assert rounds == [1, 2]


def test_trees_grow_over_the_wire_as_they_do_in_one_process(federation, tmp_path):
    parts = [(examples(seed, 60), examples(seed + 10, 30)) for seed in range(len(DEVICES))]
    for device, splits in zip(DEVICES, parts, strict=True):
        home = federation.directory / device / "data" / "activity-trees"
        home.mkdir()
        for name, split in zip(("train", "holdout"), splits, strict=True):
            np.savez(home / f"{name}.npz", x=split.x, y=split.y)
    spec = {"task": "activity-trees", "local": LocalRecipe(learning_rate=1.0)}
    result, ledger = finish(federation, "run-trees", **spec)
    assert [event.accepted for event in result.rounds] == [3, 3]
    begin = ledger.read_checkpoint(0).weights
    members = [Member(device=device, node=100 + n) for n, device in enumerate(DEVICES)]
    stores = devices(tmp_path, "activity-trees", parts)
    here = run(tmp_path / "here", stores, members=members, seed=7, rounds=2, **spec)
    assert (result.digest, len(begin["trees.leaf"])) == (here.digest, 0)


def test_training_with_a_buffer_runs_over_the_superlink(federation, first):
    """FedBuff: each commit takes the first two updates; nobody waits for the third, which counts as stale."""
    buffer = Buffer(size=2, concurrency=3, staleness=4)
    result, ledger = finish(federation, "run-buffered", rounds=3, buffer=buffer, start=str(first[1].directory / START))
    assert [(event.round, event.accepted) for event in result.rounds] == [(1, 2), (2, 2), (3, 2)]
    accepted = [event for event in ledger.events() if isinstance(event, UpdateAccepted)]
    assert {event.device for event in accepted} == set(DEVICES)
    assert max(event.staleness for event in accepted) >= 1
    assert not [event for event in ledger.events() if isinstance(event, UpdateRefused)]


def test_a_round_closes_on_its_quorum_and_on_its_deadline(federation, first):
    """The third device is frozen: two are a quorum, and without one the deadline of earlier rounds' pace decides."""
    start = str(first[1].directory / START)
    terms = {"rounds": 3, "round_timeout_s": 8.0, "min_devices": 2, "start": start}
    directory = federation.directory / "run-paced"
    write_spec(directory, spec(federation, "run-paced", pace=Pace(factor=2.0, quantile=0.5, least_s=1.0), **terms))
    ledger = RunLedger(directory)
    job = federation.start_job(directory, "run-paced")

    def wait_for(kind, number):
        while not (found := [e for e in ledger.events() if isinstance(e, kind) and e.round == number]):
            assert job.poll() is None, federation.log_of("run-paced")
            time.sleep(0.02)
        return found[0]

    wait_for(RoundFinished, 2)
    frozen = federation.processes["watch-3"]
    frozen.send_signal(signal.SIGSTOP)
    try:
        started = wait_for(RoundStarted, 3)
        wait_for(UpdateRefused, 3)
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert started.deadline_s < 8.0
    assert job.wait(90) == 0, federation.log_of("run-paced")
    last = read_result(directory).rounds[-1]
    assert (last.accepted, last.refused) == (2, 1)

    result, _ = finish(federation, "run-quorum", rounds=1, pace=Pace(quorum=0.6), start=start, min_devices=2)
    assert (result.rounds[0].accepted, result.rounds[0].late) == (2, 1)


def test_a_run_starts_from_weights_after_a_night_of_trouble(federation, first):
    """One device is gone, one trainer and the SuperLink were killed: a quorum trains on from the last weights."""
    federation.stop(["watch-3"])
    federation.kill("watch-1")  # SuperLink still counts it as active, and would refuse it for 20 s
    federation.kill("superlink")
    federation.start_superlink()
    federation.start_trainer("watch-1")
    start = str(first[1].directory / "weights.npz")
    changes = {"seed": 8, "rounds": 1, "start": start, "round_timeout_s": 30.0, "gather_timeout_s": 0.5}
    result, ledger = finish(federation, "run-3", **changes)
    assert result.devices.keys() == {"watch-1", "watch-2"}
    assert result.rounds[0].accepted == 2
    assert result.rounds[0].accuracy > result.evaluation["accuracy.training"] - 0.01
    assert weights_digest(ledger.read_checkpoint(0).weights) == first[0].digest
    left_out = [event.device for event in ledger.events() if isinstance(event, QueryRefused)]
    assert left_out == ["watch-3"]


def test_a_finished_run_is_not_run_again(federation, first):
    assert federation.start_job(first[1].directory, "again").wait(300) == 0
    assert read_result(first[1].directory).seconds == first[0].seconds


def test_registering_a_key_again_gives_the_same_node(federation):
    control = FlowerControl(federation.address)
    try:
        for device in DEVICES:
            assert control.register_node(public_pem(federation.keys[device]).decode()) == federation.nodes[device]
        with pytest.raises(ContractError):
            control.register_node(b"no key")
        assert not control.stop_run(12345)
    finally:
        control.close()


SHUT = [
    "/v1/control/start-run",
    "/v1/control/list-runs",
    "/v1/control/list-nodes",
    "/v1/control/register-node",
    "/v1/control/stream-logs",
    "/v1/runtime/acquire-task",
    "/v1/runtime/pull-task-input",
    "/v1/runtime/get-nodes",
    "/v1/runtime/push-messages",
    "/v1/runtime/push-task-output",
    "/v1/fleet/register-node",
    "/v1/fleet/unregister-node",
    "/v1/fleet/get-fab",
    "/docs",
    "/openapi.json",
]


@pytest.mark.parametrize("path", SHUT)
def test_without_the_token_every_door_but_the_devices_is_shut(federation, path):
    url = f"https://{federation.address.address}{path}"
    headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
    with httpx.Client(verify=federation.trust()) as client:
        for method in ("POST", "GET"):
            assert client.request(method, url, headers=headers).status_code == 401
            wrong = headers | {"authorization": f"Bearer {'x' * len(TOKEN)}"}
            assert client.request(method, url, headers=wrong).status_code == 401
        right = headers | {"authorization": f"Bearer {TOKEN}"}
        method = "GET" if path in ("/docs", "/openapi.json") else "POST"
        let_in = client.request(method, url, headers=right)
        assert "this door is for the coordinator" not in let_in.text


def test_flowers_own_clients_get_nowhere_without_the_token(federation):
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.proto.fab_pb2 import Fab
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.control.control_http_client import ControlHttpClient
    from flwr.supercore.runtime import RuntimeHttpClient

    ca = federation.address.ca.read_bytes()
    control = ControlHttpClient.from_server_address(federation.address.address, False, ca, [])
    runtime = RuntimeHttpClient.from_server_address(federation.address.address, False, ca, [])
    try:
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            control.StartRun(StartRunRequest(fab=Fab(content=empty_bundle())))
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            runtime.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"]))
    finally:
        control.close()
        runtime.close()


def test_a_coordinator_with_another_token_is_refused(federation):
    address = federation.address
    control = FlowerControl(SuperLinkAddress(address=address.address, ca=address.ca, control_token="y" * 40))
    try:
        with pytest.raises(RefusedError):
            control.start_run()
    finally:
        control.close()


def test_a_node_that_was_never_enrolled_is_refused(federation, tmp_path):
    make_key(tmp_path / "stranger.key")
    with pytest.raises(RefusedError):
        FleetConnection(federation.address.address, ca=federation.address.ca, key=tmp_path / "stranger.key")


def test_a_node_does_not_speak_for_another(federation):
    """Calls are signed with one node's key and name another node: SuperLink compares."""
    from flwr.proto.node_pb2 import Node

    key = federation.directory / "watch-3" / "node.key"
    with FleetConnection(federation.address.address, ca=federation.address.ca, key=key) as connection:
        assert connection.receive() is None
        connection._self = Node(node_id=federation.nodes["watch-1"])
        with pytest.raises(RefusedError):
            connection.receive()


def test_calls_without_a_signature_are_refused(federation):
    with httpx.Client(verify=federation.trust()) as client:
        for path in sorted(DEVICE_CALLS):
            url = f"https://{federation.address.address}{path}"
            headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
            assert client.post(url, headers=headers).status_code in (400, 401, 403, 415, 422)


def test_a_server_of_another_authority_is_not_spoken_to(federation, tmp_path):
    from federation import make_certificates

    make_certificates(tmp_path)
    key = federation.directory / "watch-3" / "node.key"
    with pytest.raises(TransportError):
        FleetConnection(federation.address.address, ca=tmp_path / "ca.pem", key=key)


def test_superlink_stops_quickly_under_polling_nodes(federation):
    started = time.monotonic()
    superlink = federation.processes["superlink"]
    superlink.terminate()
    superlink.wait(180)
    assert time.monotonic() - started < 20  # thirty without a limit to the grace
