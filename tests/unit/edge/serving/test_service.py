"""Serving as the settings ask for it: what is refused, and TLS beyond loopback."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest

from edge import settings as conf
from edge.operate.settings_check import find_faults
from edge.relay.address import Address
from edge.serving.gate import Gate
from edge.serving.server import HttpServer, OwnCertificate, is_loopback
from edge.serving.service import check_serving
from shared.errors import FaultError, RefusedError
from tests.served_models import Site
from tests.site import NOW, Place, make_authority, passport


def settings(tmp_path, text):
    path = tmp_path / "agent.toml"
    (tmp_path / "token").write_text("t")
    path.write_text(f'[agent]\nstate = "{tmp_path}"\ntoken_file = "{tmp_path}/token"\n{text}')
    return conf.read(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[serving]\nlisten = "0.0.0.0:8000"\ntokens = false', "everybody on the network"),
        ('[serving]\ngrpc = "192.168.1.5:8001"\ntokens = false', "everybody on the network"),
        ('[serving]\nlisten = "127.0.0.1:8000"\ncertificate = "/x"', "go together"),
        (
            '[serving]\nlisten = "127.0.0.1:8000"\n[[pipelines]]\nname = "serving"\nmodel = "m"\n'
            'source = { kind = "video", path = "/dev/null" }',
            "another name",
        ),
    ],
)
def test_what_must_not_be_is_refused(tmp_path, text, says):
    made = settings(tmp_path, text)
    with pytest.raises(RefusedError) as refused:
        check_serving(made)
    assert says in f"{refused.value} {refused.value.hint}"
    assert any(fault.field == "serving" for fault in find_faults(made))


def test_off_by_default_and_with_tokens(tmp_path):
    serving = settings(tmp_path, "").serving
    assert (serving.listen, serving.grpc, serving.tokens) == ("", "", True)
    check_serving(settings(tmp_path, '[serving]\nlisten = "127.0.0.1:8000"\ntokens = false'))


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("plc.example", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback(host, is_it):
    assert is_loopback(Address(host, 1)) is is_it


@asynccontextmanager
async def https(site, context):
    server = HttpServer(site.desk, listen=Address("127.0.0.1", 0), gate=Gate(most=4), tokens=None, context=context)
    task = asyncio.create_task(server.run())
    while not server.port:
        await asyncio.sleep(0.005)
    try:
        yield f"https://127.0.0.1:{server.port}"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def live(url, context):
    async with httpx.AsyncClient(verify=context, timeout=60) as client:
        return (await client.get(f"{url}/v2/health/live")).status_code


async def test_the_devices_own_certificate_is_shown_and_asks_for_none(tmp_path):
    identity = Place(tmp_path / "place").identity("device-a")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shown.check_hostname, shown.verify_mode = False, ssl.CERT_NONE
    usual = ssl.create_default_context(cafile=str(identity.authority_file))
    async with https(Site(tmp_path), passport(identity).presenting) as url:
        assert await live(url, shown) == 200
        with pytest.raises(httpx.ConnectError):  # it is a client's, and the docs say so
            await live(url, usual)


async def test_a_certificate_of_the_owners_is_one_that_libraries_trust(tmp_path):
    authority = make_authority(tmp_path / "ca")
    own = authority.issue_server("broker", ["127.0.0.1"], at=NOW)
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"
    certificate.write_text(own.certificate)
    key.write_text(own.key)
    usual = ssl.create_default_context(cadata=authority.certificate)
    shown = OwnCertificate(certificate, key)
    async with https(Site(tmp_path), shown.context) as url:
        assert await live(url, usual) == 200
    assert shown.context() is shown.context()
    certificate.unlink()
    with pytest.raises(FaultError):
        shown.context()
