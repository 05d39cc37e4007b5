"""Set-up makes a directory once, completes it when asked again, and keeps every key."""

import stat
import tomllib

import pytest
from cryptography import x509

from cloud.access.keys import KeyDesk
from cloud.devices.authority import SERVER_LIFETIME, Authority
from cloud.release.keys import FileKeys
from cloud.release.repository import Repository
from cloud.settings import make_settings, read_settings
from cloud.setup import fit_certificates, open_sealer, open_state, set_up
from shared.clock import VirtualClock
from shared.errors import RefusedError


def settings_for(directory, *fleets, **api):
    document = {"identity": {"tenant": "acme", "fleets": list(fleets) or ["wards"]}, "api": api}
    return make_settings(document, {}, directory=directory)


def files(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    clock, directory = VirtualClock(), tmp_path_factory.mktemp("coordinator")
    settings = settings_for(directory)
    return settings, set_up(settings, clock=clock, account="hinterland"), clock


def test_all_is_there(made):
    settings, parts, _ = made
    layout = settings.layout
    assert read_settings(layout.directory, {}) == settings
    profile = tomllib.loads(layout.profile.read_text())
    assert (profile["url"], profile["ca"]) == (settings.url, str(layout.ca))
    database = open_state(settings)
    first = KeyDesk(database, clock=VirtualClock(), tenant="acme").principal(profile["key"])
    assert (first.name, first.roles, first.fleets) == ("operator", ("admin",), ("*",))
    database.close()
    assert any("certificate authority" in part for part in parts)
    config = layout.broker_config.read_text()
    assert f"listener {settings.broker.port} 127.0.0.1" in config
    assert "require_certificate true" in config
    assert "user coordinator" in layout.broker.access.read_text()
    for name in ("api", "broker", "superlink", "coordinator", "operator"):
        certificate = x509.load_pem_x509_certificate(layout.certificate(name).read_bytes())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(layout.ca.read_bytes()))


def test_secrets_are_for_this_account_only(made):
    settings, _, _ = made
    layout = settings.layout
    secret = [layout.profile, layout.passphrase, layout.control_token, layout.authority / "ca.key"]
    secret += [layout.key(name) for name in ("api", "broker", "superlink", "coordinator", "operator")]
    secret += list(layout.keys.rglob("*.key"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert stat.S_IMODE(layout.directory.stat().st_mode) & 0o007 in (0, 0o005)


def test_again_it_makes_nothing_and_changes_nothing(made):
    settings, _, clock = made
    before = files(settings.layout.directory)
    assert set_up(settings, clock=clock, account="hinterland") == []
    after = files(settings.layout.directory)
    assert {path for path in before if before[path] != after.get(path) and "db.sqlite" not in path.name} == set()


def test_a_new_fleet_is_added_and_a_new_host_gets_a_certificate(made):
    settings, _, clock = made
    more = settings_for(settings.layout.directory, "wards", "gates", public_host="hq.example")
    parts = set_up(more, clock=clock, account="hinterland")
    assert "fleet gates" in parts
    assert "certificate of api" in parts
    keys = FileKeys(more.layout.keys, sealer=open_sealer(more))
    assert Repository.open(more.layout.tuf, keys=keys, clock=clock).fleets() == ["gates", "wards"]
    assert set_up(more, clock=clock, account="hinterland") == []


def test_behind_a_load_balancer_servers_listen_here_and_are_known_by_other_names(tmp_path):
    document = {
        "api": {"host": "0.0.0.0", "public_host": "hq.example", "inside": "coordinator.site.svc"},
        "broker": {"host": "mqtt.example", "listen": "0.0.0.0", "inside": "broker.site.svc", "reload": "watch"},
        "superlink": {"host": "fl.example", "listen": "0.0.0.0", "inside": "superlink.site.svc"},
    }
    settings = make_settings(document, {}, directory=tmp_path)
    set_up(settings, clock=VirtualClock(), account="hinterland")
    names = {server: hosts_of(settings.layout.certificate(server)) for server in ("api", "broker", "superlink")}
    here = {"localhost", "127.0.0.1"}
    assert names == {
        "api": {"hq.example", "coordinator.site.svc", *here},
        "broker": {"mqtt.example", "broker.site.svc", *here},
        "superlink": {"fl.example", "superlink.site.svc", *here},
    }
    assert "listener 8883 0.0.0.0" in settings.layout.broker_config.read_text()
    assert (settings.superlink_address, settings.superlink_inside) == ("fl.example:9092", "superlink.site.svc:9092")
    assert make_settings({}, {}, directory=tmp_path).superlink_inside == "127.0.0.1:9092"


def hosts_of(path):
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def test_certificates_are_issued_anew_when_half_of_their_life_is_over(made):
    settings, _, clock = made
    authority = Authority.open(settings.layout.authority, sealer=open_sealer(settings))
    settled = fit_certificates(settings, authority, at=clock.now())
    assert fit_certificates(settings, authority, at=clock.now()) == []
    later = fit_certificates(settings, authority, at=clock.now() + SERVER_LIFETIME / 2)
    assert len(later) == 5, settled


def test_without_a_passphrase_nothing_opens(tmp_path):
    with pytest.raises(RefusedError, match="no passphrase"):
        open_sealer(settings_for(tmp_path))
