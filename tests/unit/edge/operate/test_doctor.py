"""Each finding of the doctor, and that it only looks."""

import asyncio
import dataclasses
import socket
from datetime import UTC, datetime

import msgspec
import pytest
from typer.testing import CliRunner

from edge import settings as conf
from edge.facts import LinuxFacts, MemoryFacts
from edge.main import app
from edge.operate.doctor import Finding, Level, disk, examine, inputs, link, models, time_and_trust, worst
from edge.operate.doctor.patient import Patient
from edge.operate.status import LinkStatus, PipelineStatus, ProcessStatus, Status
from shared.bundle import Runtime
from shared.clock import SystemClock, VirtualClock
from simulations.world.ports import free_ports
from tests.committed import Device
from tests.site import DAY, NOW

LINK = LinkStatus(connected=True, sessions=2, waiting={"telemetry": 3}, lost={"telemetry": 0})


@pytest.fixture
def device(tmp_path, until):
    device = Device(tmp_path, until)
    device.state.chmod(0o700)
    device.config.chmod(0o644)
    return device


def patient(device, *, at=NOW, status=None, enrolled=True, facts=None):
    return Patient(
        config=device.config,
        settings=conf.read(device.config),
        facts=facts or MemoryFacts(memory=4000, disk=1 << 34, versions={Runtime.ONNXRUNTIME: "1.22"}),
        clock=VirtualClock(at),
        identity=device.identity if enrolled else None,
        status=status,
    )


def running(**fields):
    usual = {"pipelines": [], "models": [], "processes": [], "link": LINK}
    return Status(device="d", fleet="north", pid=7, at=NOW, monotonic=1.0, **usual | fields)


def only(findings):
    (finding,) = findings
    assert finding.level is Level.OK or finding.remedy
    return finding


def levels(findings):
    return [each.level.value for each in findings]


def test_the_worst_counts():
    assert worst([]) is Level.OK
    found = [Finding(name="a", level=level, text="") for level in (Level.WARN, Level.FAIL, Level.OK)]
    assert worst(found) is Level.FAIL


def test_a_state_that_is_the_agents_alone(device):
    assert only(disk.check_rights(patient(device))).level is Level.OK


@pytest.mark.parametrize(
    ("name", "mode", "remedy"),
    [
        ("state", 0o755, "chmod 700"),
        ("state/identity/device.key", 0o640, "chmod 600"),
        ("agent.toml", 0o666, "chmod go-w"),
    ],
)
def test_what_is_open_to_others(device, name, mode, remedy):
    (device.directory / name).chmod(mode)
    finding = only(disk.check_rights(patient(device)))
    assert finding.level is Level.FAIL
    assert remedy in finding.remedy


@pytest.mark.parametrize(("free", "level"), [(10, "fail"), (200, "warn"), (5000, "ok")])
def test_room_on_the_disk(device, free, level):
    facts = MemoryFacts(disk=free << 20)
    assert levels(disk.check_disk(patient(device, facts=facts)))[0] == level


def test_a_clock_before_its_own_certificate(device):
    finding = only(time_and_trust.check_clock(patient(device, at=0.0)))
    assert finding.level is Level.FAIL
    assert "before this device's certificate" in finding.text
    assert only(time_and_trust.check_clock(patient(device))).level is not Level.FAIL


@pytest.mark.parametrize(("share", "level"), [(0.1, "ok"), (0.95, "warn"), (1.1, "fail")])
def test_a_certificate_through_its_life(device, share, level):
    assert levels(time_and_trust.check_identity(patient(device, at=NOW + share * DAY))) == [level]


def test_without_an_identity_or_with_half_of_one(device):
    finding = only(time_and_trust.check_identity(patient(device, enrolled=False)))
    assert "damaged" in finding.text
    (device.state / "identity" / "enrolment.json").unlink()
    assert "not enrolled" in only(time_and_trust.check_identity(patient(device, enrolled=False))).text
    (device.state / "identity" / "device.crt").write_text("x")
    assert only(time_and_trust.check_identity(patient(device))).level is Level.FAIL


def test_what_is_signed_gets_old(device):
    assert only(time_and_trust.check_trust(patient(device))).level is Level.WARN  # nothing has come
    metadata = device.state / "trust" / "metadata"
    metadata.mkdir(parents=True)
    for name, at in (("timestamp", NOW + DAY), ("releases", NOW + 9 * DAY)):
        expires = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        (metadata / f"{name}.json").write_bytes(msgspec.json.encode({"signed": {"expires": expires}}))
    assert "timestamp" in only(time_and_trust.check_trust(patient(device))).text
    late = only(time_and_trust.check_trust(patient(device, at=NOW + 2 * DAY)))
    assert late.level is Level.WARN
    assert "timestamp expired" in late.text
    (device.state / "trust" / "marks-1.json").write_text("x")
    assert levels(time_and_trust.check_trust(patient(device)))[0] == "fail"


def test_a_broker_that_is_away_or_somebody_else(device):
    refused = only(link.check_broker(patient(device)))  # port 1: nobody's
    assert refused.level is Level.FAIL
    assert "refused" in refused.text
    assert only(link.check_broker(patient(device, enrolled=False))).level is Level.WARN


async def test_a_broker_that_speaks_no_tls(device):
    async def babble(_reader, writer):
        writer.write(b"220 mail\r\n" * 10)

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    other = dataclasses.replace(device.identity, broker_port=port)
    him = dataclasses.replace(patient(device), identity=other)
    finding = only(await asyncio.to_thread(lambda: list(link.check_broker(him))))
    assert "TLS failed" in finding.text
    server.close()


def test_the_outbox_of_an_agent_that_runs(device):
    assert list(link.check_outbox(patient(device))) == []
    for told, level in (
        (LINK, "ok"),
        (msgspec.structs.replace(LINK, lost={"drift": 2}), "warn"),
        (msgspec.structs.replace(LINK, durable=False), "fail"),
    ):
        assert levels(link.check_outbox(patient(device, status=running(link=told)))) == [level]


def test_runtimes(device):
    assert levels(models.check_runtimes(patient(device))) == ["ok"]
    assert levels(models.check_runtimes(patient(device, facts=MemoryFacts()))) == ["fail"]
    device.add('[inference]\nruntimes = ["tensorrt", "onnxruntime"]\n')
    assert "needs an NVIDIA GPU" in only(models.check_runtimes(patient(device))).text


def test_memory_for_a_second_model(device):
    status = running(processes=[ProcessStatus(role="model toy", pid=8, cpu_s=0, rss_mib=600)])
    for free, level in ((500, "warn"), (700, "ok")):
        assert levels(models.check_memory(patient(device, status=status, facts=MemoryFacts(memory=free)))) == [level]
    assert levels(models.check_memory(patient(device, facts=MemoryFacts()))) == ["warn"]


def test_a_models_fences_are_tried(device):
    finding = only(models.check_isolation(patient(device)))
    assert finding.level in (Level.OK, Level.WARN)
    assert "seccomp" in finding.text
    device.add('[inference]\nisolation = "none"\n')
    assert only(models.check_isolation(patient(device))).level is Level.WARN


def test_sources_that_are_there_and_not(device, tmp_path):
    (tmp_path / "film.avi").write_text("x")
    for name in ("film", "gone"):
        device.add(
            f'[[pipelines]]\nname = "{name}"\nmodel = "m"\n'
            f'source = {{ kind = "video", path = "{tmp_path}/{name}.avi" }}'
        )
    assert levels(inputs.check_sources(patient(device))) == ["ok", "fail"]
    status = running(pipelines=[PipelineStatus(name="a", model="m", state="failed", reason="no frame")])
    assert "no frame" in [each.text for each in inputs.check_sources(patient(device, status=status))]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("rtsp://user:secret@10.0.0.5/live", ("10.0.0.5", 554)),
        ("rtsp://cam:8554/x", ("cam", 8554)),
        ("opc.tcp://plc:4841", ("plc", 4841)),
        ("plc:502", ("plc", 502)),
        ("[::1]:502", ("::1", 502)),
        ("/dev/video0", None),
        ("rtsp://cam:99999/x", None),
        ("", None),
    ],
)
def test_addresses_of_sources(text, address):
    assert inputs.address_of(text) == address


def test_who_listens_for_callers(device):
    assert list(inputs.check_serving(patient(device))) == []
    (port,) = free_ports(1)
    device.add(f'[serving]\nlisten = "127.0.0.1:{port}"\n')
    assert levels(inputs.check_serving(patient(device))) == ["warn", "ok"]  # no token, and a free port
    assert levels(inputs.check_serving(patient(device, status=running()))) == ["warn", "fail"]
    with socket.create_server(("127.0.0.1", port)):
        assert levels(inputs.check_serving(patient(device))) == ["warn", "fail"]
        assert levels(inputs.check_serving(patient(device, status=running()))) == ["warn", "ok"]


def everything(directory):
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in directory.rglob("*")}


def test_the_whole_writes_nothing_and_its_status_is_its_verdict(device):
    before = everything(device.directory)
    said = CliRunner().invoke(app, ["doctor", "--json", "--config", str(device.config)])
    findings = [msgspec.json.decode(line, type=Finding) for line in said.output.splitlines()]
    assert {"settings", "agent", "rights", "identity", "broker", "isolation"} <= {each.name for each in findings}
    assert said.exit_code == 1  # nobody is at its broker's address
    assert everything(device.directory) == before


def test_settings_that_cannot_be_read_are_the_only_finding(tmp_path):
    config = tmp_path / "agent.toml"
    config.write_text("[agent]\nstate = 1\nstat = 1\n")
    found = list(examine(config, facts=LinuxFacts(), clock=SystemClock()))
    assert [each.name for each in found] == ["settings", "settings"]
    assert worst(found) is Level.FAIL
