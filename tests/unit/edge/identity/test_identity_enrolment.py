"""A device meets a real HTTPS server whose certificate is from our authority, or is not."""

import json
import ssl
import stat
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from cloud.devices.authority import Authority
from cloud.devices.enrolment import check, mint
from cloud.release import Sealer
from edge.identity import Identity, KnownTime, due, enrol, refresh, renew, rescue
from shared.clock import SystemClock
from shared.enrolment import (
    EnrolAnswer,
    EnrolRequest,
    Refusal,
    RenewAnswer,
    RenewRequest,
    RescueRequest,
    encode_token,
    from_json,
    parse_token,
    to_json,
)
from shared.errors import ContractError, FaultError, HinterlandError, RefusedError, TransportError, TrustError

NOW = SystemClock().now()
DAY = 86_400.0
FACTS = {"hardware": ["cpu"], "runtimes": ["onnxruntime"]}


class Coordinator:
    """The two routes, thin; a certificate authority and tokens as in production."""

    def __init__(self, directory):
        sealer = Sealer(b"secret", cost=4)
        self.authority = Authority.create(directory / "ca", name="demo", sealer=sealer, at=NOW)
        self.shown = self.authority.certificate
        self.presented = self.authority
        self.alter = lambda answer: answer
        self.lifetime = 30 * DAY
        self.server_at, self.server_lifetime = NOW, 90 * DAY
        self.issued_at = NOW
        self.revoked = False
        self.directory = directory

    def token(self, url, **changes):
        fields = {"ca_sha256": self.authority.fingerprint, "at": NOW, **changes}
        token, self.grant = mint(identifier="t1", secret=b"s" * 32, url=url, **fields)
        return encode_token(token)

    def answer(self, path, body):
        match path:
            case "/v1/ca":
                return self.shown.encode()
            case "/v1/enrol":
                self.asked = from_json(body, EnrolRequest)
                check(parse_token(self.asked.token), self.grant, at=NOW)
                return to_json(self.alter(self._enrolled(self.asked.csr)))
            case "/v1/renew":
                request = from_json(body, RenewRequest)
                device = self.authority.check_renewal(request, at=NOW)
                if self.revoked:
                    raise RefusedError("this device was revoked", hint="Ask an operator.")
                return to_json(RenewAnswer(certificate=self.authority.issue_device(request.csr, device, at=NOW)))
            case "/v1/rescue":
                request = from_json(body, RescueRequest)
                device = self.authority.check_rescue(request, at=NOW, grace=DAY)
                return to_json(RenewAnswer(certificate=self.authority.issue_device(request.csr, device, at=NOW)))
        raise RefusedError("no such route")

    def _enrolled(self, csr):
        return EnrolAnswer(
            device="wrist-1",
            fleet="lab",
            tenant="demo",
            certificate=self.authority.issue_device(csr, "wrist-1", at=self.issued_at, lifetime=self.lifetime),
            authority=self.authority.certificate,
            root='{"signed": {}}',
            broker_host="127.0.0.1",
            broker_port=8883,
        )

    @contextmanager
    def serving(self):
        credentials = self.presented.issue_server(
            "coordinator", ["127.0.0.1"], at=self.server_at, lifetime=self.server_lifetime
        )
        files = self.directory / "server.crt", self.directory / "server.key"
        for file, text in zip(files, credentials, strict=True):
            file.write_text(text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(coordinator):  # noqa: N805  # `self` is the handler's below
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                try:
                    status, answer = 200, coordinator.answer(self.path, body)
                except HinterlandError as error:
                    status, answer = 403, to_json(Refusal(code=error.code, message=str(error), hint=error.hint))
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815  # the name that the server looks for

            def log_message(self, *_):
                pass

        return Handler


@pytest.fixture
def coordinator(tmp_path):
    return Coordinator(tmp_path)


@pytest.fixture
def device(tmp_path):
    return tmp_path / "device"


def test_enrolment(coordinator, device):
    with coordinator.serving() as url:
        identity = enrol(device, token=coordinator.token(url), **FACTS, agent="0.1.0")
    assert identity == Identity.load(device)
    assert (identity.device, identity.fleet, identity.tenant, identity.url) == ("wrist-1", "lab", "demo", url)
    assert identity.root == b'{"signed": {}}'
    assert identity.tls().verify_mode is ssl.CERT_REQUIRED
    assert coordinator.asked.hardware == ["cpu"]
    assert stat.S_IMODE(identity.key_file.stat().st_mode) == 0o600
    with pytest.raises(RefusedError, match="already"):
        enrol(device, token="", **FACTS)


def test_the_private_key_stays(coordinator, device):
    with coordinator.serving() as url:
        enrol(device, token=coordinator.token(url), **FACTS)
    assert "PRIVATE" not in json.dumps(coordinator.asked.csr)


def test_another_authority_in_between(coordinator, device, tmp_path):
    """It answers /v1/ca with its own certificate: the fingerprint in the token is another."""
    thief = Authority.create(tmp_path / "thief", name="demo", sealer=Sealer(b"x", cost=4), at=NOW)
    coordinator.presented, coordinator.shown = thief, thief.certificate
    with coordinator.serving() as url, pytest.raises(TrustError, match="fingerprint"):
        enrol(device, token=coordinator.token(url), **FACTS)
    assert not Identity.exists(device)


def test_a_relay_that_shows_the_right_authority(coordinator, device, tmp_path):
    """It copies /v1/ca, and then cannot hold the connection: its own certificate is from elsewhere."""
    coordinator.presented = Authority.create(tmp_path / "thief", name="demo", sealer=Sealer(b"x", cost=4), at=NOW)
    with coordinator.serving() as url, pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        enrol(device, token=coordinator.token(url), **FACTS)
    assert not hasattr(coordinator, "asked")


@pytest.mark.parametrize("changes", [{"at": NOW - 2 * DAY}, {"ca_sha256": "0" * 64}])
def test_expired_or_foreign_tokens(coordinator, device, changes):
    with coordinator.serving() as url, pytest.raises((RefusedError, TrustError)) as raised:
        enrol(device, token=coordinator.token(url, **changes), **FACTS)
    assert raised.value.hint
    assert not Identity.exists(device)


def test_a_lost_answer_is_asked_for_again_with_the_same_key(coordinator, device):
    with coordinator.serving() as url:
        token = coordinator.token(url)
        coordinator.alter = lambda answer: Refusal(code="x", message="cut off")
        with pytest.raises(ContractError):
            enrol(device, token=token, **FACTS)
        first = (device / "device.key").read_bytes()
        coordinator.alter = lambda answer: answer
        enrol(device, token=token, **FACTS)
    assert (device / "device.key").read_bytes() == first


def test_a_certificate_for_another_key(coordinator, device, tmp_path):
    with coordinator.serving() as url:
        other = enrol(tmp_path / "other", token=coordinator.token(url), **FACTS)
        foreign = other.certificate_file.read_text()
        coordinator.alter = lambda answer: msgspec.structs.replace(answer, certificate=foreign)
        with pytest.raises(TrustError, match="another key"):
            enrol(device, token=coordinator.token(url), **FACTS)


def test_nobody_answers(device):
    token, _ = mint(identifier="t1", secret=b"s" * 32, url="https://127.0.0.1:1", ca_sha256="a" * 64, at=NOW)
    with pytest.raises(TransportError):
        enrol(device, token=encode_token(token), **FACTS)


def test_renewal(coordinator, device):
    with coordinator.serving() as url:
        coordinator.lifetime = DAY
        identity = enrol(device, token=coordinator.token(url), **FACTS)
        assert NOW + DAY * 0.49 < due(identity) < NOW + DAY * 0.75
        before = identity.certificate_file.read_text()
        renew(identity, now=SystemClock().now)
        after = identity.certificate_file.read_text()
        assert after != before
        assert due(identity) > NOW + DAY * 14
        assert Identity.load(device).tls()
        coordinator.revoked = True
        with pytest.raises(RefusedError, match="revoked") as raised:
            renew(identity, now=SystemClock().now)
    assert raised.value.hint == "Ask an operator."
    assert identity.certificate_file.read_text() == after


def test_a_device_that_was_away_when_its_certificate_ended_is_back(coordinator, device):
    with coordinator.serving() as url:
        coordinator.issued_at, coordinator.lifetime = NOW - DAY, DAY - 60
        identity = enrol(device, token=coordinator.token(url), **FACTS)
        with pytest.raises(RefusedError, match="out of date"):
            renew(identity, now=SystemClock().now)
        refresh(identity, now=SystemClock().now)
        assert due(identity) > NOW
        with pytest.raises(RefusedError, match="still good"):
            rescue(identity, now=SystemClock().now)


def test_a_device_that_was_away_for_too_long_needs_a_token(coordinator, device):
    with coordinator.serving() as url:
        coordinator.issued_at, coordinator.lifetime = NOW - 3 * DAY, 1.5 * DAY
        identity = enrol(device, token=coordinator.token(url), **FACTS)
        with pytest.raises(RefusedError, match="too long ago") as raised:
            refresh(identity, now=SystemClock().now)
    assert "token" in raised.value.hint or "Enrol" in raised.value.hint


class In1970:
    def now(self):
        return 60.0

    def monotonic(self):
        return 60.0


def test_a_clock_that_stands_in_1970_does_not_lock_a_device_out(coordinator, device):
    with coordinator.serving() as url:
        identity = enrol(device, token=coordinator.token(url), **FACTS, clock=In1970())
        known = KnownTime(In1970(), identity.authority_file, identity.certificate_file)
        assert NOW - 400 < known() <= NOW
        renew(identity, now=known)


def test_a_server_certificate_that_has_expired_is_refused_at_every_time_a_device_may_know(coordinator, device):
    with coordinator.serving() as url:
        identity = enrol(device, token=coordinator.token(url), **FACTS)
        with pytest.raises(TransportError, match="expired"):
            renew(identity, now=lambda: NOW + 100 * DAY)
    coordinator.server_at, coordinator.server_lifetime = NOW - DAY, DAY / 2
    with coordinator.serving() as url:
        moved = replace(identity, url=url)
        with pytest.raises(TransportError, match="expired"):
            renew(moved, now=SystemClock().now)
        with pytest.raises(TransportError, match="expired"):  # the device's own certificate began later
            renew(moved, now=KnownTime(In1970(), identity.certificate_file))


def test_a_clock_in_1970_believes_no_other_authority(coordinator, device, tmp_path):
    with coordinator.serving() as url:
        identity = enrol(device, token=coordinator.token(url), **FACTS)
    coordinator.presented = Authority.create(tmp_path / "thief", name="demo", sealer=Sealer(b"x", cost=4), at=NOW)
    with coordinator.serving() as url, pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        renew(replace(identity, url=url), now=KnownTime(In1970(), identity.certificate_file))


def test_no_identity(device):
    with pytest.raises(FaultError, match="no identity"):
        Identity.load(device)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"{}", b'{"device": "../x"}'])
def test_a_damaged_identity(coordinator, device, content):
    with coordinator.serving() as url:
        enrol(device, token=coordinator.token(url), **FACTS)
    (device / "enrolment.json").write_bytes(content)
    with pytest.raises(FaultError, match="damaged"):
        Identity.load(device)


def test_a_damaged_key(coordinator, device):
    with coordinator.serving() as url:
        identity = enrol(device, token=coordinator.token(url), **FACTS)
    identity.key_file.write_bytes(b"\0" * 100)
    with pytest.raises(FaultError, match="damaged"):
        identity.tls()
    with pytest.raises(FaultError, match="damaged"):
        renew(identity, now=SystemClock().now)
