"""Whole repositories with keys in a real Vault and on a real token, and what it means when those are away."""

import logging
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from hvac.exceptions import InvalidRequest

from cloud.loop.keys import KeyWatch
from cloud.release.rings import KeysByRole
from cloud.release.vault import VaultKeys
from cloud.store.database import open_database, sqlite_url
from cloud.store.events import Events
from cloud.vault import MAX_RESPITE_S, Vault
from shared.clock import SystemClock
from shared.errors import RefusedError, TransportError, TrustError
from tests.publishing import Publisher, accept, make_release
from tests.real_broker import Certificates
from tests.real_vault import Bao

pytestmark = pytest.mark.system

MOUNT = "hinterland-default"
DAY = 86_400.0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("bao")
    bao = Bao(home / "server")
    try:
        bao.prepare(home / "ids")
        yield bao, home / "ids"
    finally:
        bao.stop()


@pytest.fixture
def bao(prepared):
    server, _ = prepared
    yield server
    server.operator("secrets", "disable", MOUNT)
    server.operator("secrets", "enable", f"-path={MOUNT}", "transit")


@pytest.fixture
def ids(prepared):
    return prepared[1]


@pytest.fixture
def keys(bao, ids):
    return VaultKeys(bao.vault(ids), mount=MOUNT)


@contextmanager
def sealed(bao):
    bao.seal()
    try:
        yield
    finally:
        bao.unseal()


def patience():
    """For so long a silent server is not asked again."""
    time.sleep(MAX_RESPITE_S + 0.1)


class SealedAfter:
    """A ring whose server is sealed when so many signatures were made."""

    def __init__(self, keys, bao, signatures):
        self._keys, self._bao, self._left = keys, bao, signatures

    def __getattr__(self, name):
        return getattr(self._keys, name)

    def signer(self, name):
        if self._left == 0:
            self._bao.seal()
        self._left -= 1
        return self._keys.signer(name)


def test_a_repository_on_a_servers_keys(keys, tmp_path):
    publisher = Publisher(tmp_path / "repository", keys=keys)
    publisher.ship(1)
    device = publisher.device(tmp_path / "device", publisher.files())
    assert accept(device).counter == 1
    publisher.clock.advance(4 * DAY)
    assert set(publisher.repository.renew().signed) >= {"snapshot", "timestamp", "fleet-lab"}
    publisher.ship(2)
    assert accept(publisher.device(tmp_path / "device", publisher.files())).counter == 2


def test_roles_in_different_rings(keys, soft_token, tmp_path):
    token = soft_token.ring()
    ring = KeysByRole({"root": token, "targets": token}, default=keys)
    publisher = Publisher(tmp_path / "repository", keys=ring)
    publisher.ship(1)
    assert token.holds("root-1")
    assert not keys.holds("root-1")
    assert keys.holds("timestamp")
    assert not token.holds("timestamp")
    publisher.clock.advance(200 * DAY)
    assert {"root", "targets", "timestamp"} <= set(publisher.repository.renew().signed)
    assert accept(publisher.device(tmp_path / "device", publisher.files())).counter == 1


def test_each_root_key_on_a_token_of_its_own(soft_token, tmp_path):
    for number in (1, 2, 3):
        soft_token.add(f"person-root-{number}")
    people, here = soft_token.ring("person-{key}"), soft_token.ring()
    publisher = Publisher(tmp_path / "repository", keys=KeysByRole({"root": people}, default=here))
    assert people.holds("root-2")
    assert not here.holds("root-2")
    publisher.ship(1)
    assert accept(publisher.device(tmp_path / "device", publisher.files())).counter == 1


@pytest.mark.parametrize("signatures", [0, 1, 2])
def test_a_server_sealed_between_two_signatures_leaves_nothing_half_signed(bao, keys, tmp_path, signatures):
    publisher = Publisher(tmp_path / "repository", keys=keys)
    publisher.ship(1)
    before, release = publisher.files(), publisher.signed(make_release(2))
    ring = SealedAfter(keys, bao, signatures)
    publisher.repository._commit._keys = ring
    try:
        with pytest.raises(TransportError, match="sealed") as caught:
            publisher.repository.publish_release(release)
        assert "Unseal" in caught.value.hint
        assert publisher.files() == before
        assert accept(publisher.device(tmp_path / "device", publisher.files())).counter == 1
    finally:
        bao.unseal()
    patience()
    publisher.repository._commit._keys = keys
    publisher.ship(2)
    assert accept(publisher.device(tmp_path / "device", publisher.files())).counter == 2


def test_while_it_is_sealed_keys_are_away_and_renewal_goes_on_with_the_others(bao, keys, soft_token, tmp_path):
    ring = KeysByRole({"releases": keys, "fleets": keys}, default=soft_token.ring())
    publisher = Publisher(tmp_path / "repository", keys=ring)
    publisher.ship(1)
    publisher.clock.advance(20 * DAY)
    with sealed(bao):
        assert not keys.holds("releases")
        renewal = publisher.repository.renew()
        assert {"timestamp", "snapshot"} <= set(renewal.signed)
        assert {"releases", "fleet-lab"} <= set(renewal.waiting)
    patience()
    assert {"releases", "fleet-lab"} <= set(publisher.repository.renew().signed)


def test_a_server_that_died_and_came_back(bao, keys):
    public = keys.ensure("releases")
    bao.stop()
    with pytest.raises(TransportError, match="cannot be reached"):
        keys.signer("releases").sign(b"data")
    bao.start()
    patience()
    with pytest.raises(TransportError, match="sealed"):
        keys.signer("releases").sign(b"data")
    bao.unseal()
    patience()
    public.verify_signature(keys.signer("releases").sign(b"data"), b"data")


def test_the_timeline_says_once_when_signing_pauses_and_goes_on(bao, ids, tmp_path):
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    watch = KeyWatch(bao.vault(ids), database=database, clock=SystemClock())
    watch.turn()
    with sealed(bao):
        for _ in range(2):
            with pytest.raises(TransportError, match="sealed"):
                watch.turn()
    patience()
    watch.turn()
    watch.turn()
    with database.read() as connection:
        told = [(event.kind, event.text) for event in Events(connection).after(0)]
    database.close()
    assert [kind for kind, _ in told] == ["keys.paused", "keys.resumed"]
    assert "Unseal it" in told[0][1]


def test_a_black_hole_and_a_slow_server_are_waited_for_once(bao, ids):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)  # takes connections and never answers
        vault = bao.vault(ids, url=f"http://127.0.0.1:{hole.getsockname()[1]}", deadline_s=1.0)
        keys, began = VaultKeys(vault, mount=MOUNT), time.monotonic()
        for name in ("releases", "snapshot", "timestamp"):
            assert not keys.holds(name)
            with pytest.raises(TransportError, match="did not answer in time"):
                keys.ensure(name)
        assert time.monotonic() - began < 4  # six calls, and one deadline


def test_a_missing_right_is_told_with_its_remedy(bao, keys, ids):
    keys.ensure("releases")
    policy = (ids / "hinterland.hcl").read_text()
    bao.root.sys.create_or_update_policy(MOUNT, policy.replace(f"{MOUNT}/sign/+", f"{MOUNT}/nothing/+"))
    try:
        with pytest.raises(RefusedError, match="does not let us sign with releases") as caught:
            keys.signer("releases").sign(b"data")
        assert "policy" in caught.value.hint
    finally:
        bao.root.sys.create_or_update_policy(MOUNT, policy)
    assert keys.signer("releases").sign(b"data")


@pytest.mark.parametrize(
    "attempt",
    [
        lambda t: t.export_key("releases", "signing-key", mount_point=MOUNT),
        lambda t: t.delete_key("releases", mount_point=MOUNT),
        lambda t: t.rotate_key("releases", mount_point=MOUNT),
        lambda t: t.update_key_configuration("releases", deletion_allowed=True, mount_point=MOUNT),
        lambda t: t.update_key_configuration("releases", exportable=True, mount_point=MOUNT),
        lambda t: t.backup_key("releases", mount_point=MOUNT),
        lambda t: t.create_key("other", key_type="ed25519", exportable=True, mount_point=MOUNT),
        lambda t: t.create_key("other", key_type="aes256-gcm96", mount_point=MOUNT),
        lambda t: t.read_key("releases", mount_point="transit-of-another-tenant"),
    ],
)
def test_the_documented_policy_lets_nobody_do_more(bao, keys, ids, attempt):
    keys.ensure("releases")
    vault = bao.vault(ids)
    with pytest.raises(RefusedError, match="does not let us"):
        vault.ask(lambda client: attempt(client.secrets.transit), what="do more")
    assert keys.signer("releases").sign(b"data")  # the same login may do this


def test_a_key_that_can_be_taken_out_is_not_used(bao, keys):
    bao.root.secrets.transit.create_key("releases", key_type="ed25519", exportable=True, mount_point=MOUNT)
    with pytest.raises(RefusedError, match="can be taken out"):
        keys.ensure("releases")


def test_another_version_made_on_the_server_changes_nothing(bao, keys, ids):
    public = keys.ensure("releases")
    bao.root.secrets.transit.rotate_key("releases", mount_point=MOUNT)
    again = VaultKeys(bao.vault(ids), mount=MOUNT)
    assert again.ensure("releases") == public
    public.verify_signature(again.signer("releases").sign(b"data"), b"data")


def test_logins_are_renewed_and_made_anew(bao, keys, ids):
    role = f"auth/approle/role/{MOUNT}"
    before = bao.root.read(role)["data"]
    bao.root.write_data(role, data={"token_ttl": "2s", "token_max_ttl": "4s"})
    try:
        fresh = VaultKeys(bao.vault(ids), mount=MOUNT)
        public, ends = fresh.ensure("releases"), time.monotonic() + 6
        while time.monotonic() < ends:
            public.verify_signature(fresh.signer("releases").sign(b"data"), b"data")
            time.sleep(0.3)
    finally:
        bao.root.write_data(role, data={"token_ttl": before["token_ttl"], "token_max_ttl": before["token_max_ttl"]})


def test_a_revoked_login_is_made_anew(bao, keys):
    keys.ensure("releases")
    for accessor in bao.root.list("auth/token/accessors")["data"]["keys"]:
        with suppress(InvalidRequest):  # it ended by itself
            if MOUNT in bao.root.auth.token.lookup_accessor(accessor)["data"]["policies"]:
                bao.root.auth.token.revoke_accessor(accessor)
    assert keys.signer("releases").sign(b"data")


def test_a_wrong_secret_id(bao, ids, tmp_path):
    (tmp_path / "secret-id").write_text("00000000-0000-0000-0000-000000000000\n")
    vault = bao.vault(ids, secret_id=tmp_path / "secret-id")
    with pytest.raises(RefusedError, match="log in") as caught:
        VaultKeys(vault, mount=MOUNT).ensure("releases")
    assert "00000000" not in f"{caught.value} {caught.value.hint}"


def test_secrets_stay_out_of_logs_and_messages(bao, ids, soft_token, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    bao.root.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    rule = 'path "secret/data/hinterland" { capabilities = ["read"] }'
    bao.root.sys.create_or_update_policy("small", rule)
    bao.root.write_data(f"auth/approle/role/{MOUNT}", data={"token_policies": [MOUNT, "small"]})
    bao.root.secrets.kv.v2.create_or_update_secret("hinterland", {"passphrase": "correct horse"}, mount_point="secret")
    vault = bao.vault(ids)
    caplog.clear()
    assert vault.secret("vault:secret/hinterland#passphrase") == "correct horse"
    said = []
    for reference in ("vault:secret/hinterland#other", "vault:secret/none#x", "vault:elsewhere/none#x"):
        with pytest.raises(RefusedError) as caught:
            vault.secret(reference)
        said.append(f"{caught.value} {caught.value.hint}")
    VaultKeys(vault, mount=MOUNT).ensure("releases")
    soft_token.ring().ensure("root-1")
    with pytest.raises(RefusedError, match="did not take the PIN") as caught:
        soft_token.ring(pin=lambda token: "99887766").ensure("root-2")
    said.append(f"{caught.value} {caught.value.hint}")
    secrets = [(ids / "role-id").read_text().strip(), (ids / "secret-id").read_text().strip()]
    secrets += ["correct horse", soft_token.pin, "99887766", str(vault._client.token)]
    told = caplog.text + "".join(said)
    assert len(told) > 200
    assert [secret for secret in secrets if secret in told] == []


def test_a_server_with_another_certificate_gets_no_credentials(bao, ids, tmp_path):
    """A TLS server that the named authority does not vouch for."""
    import ssl

    mine, foreign = Certificates(_made(tmp_path / "mine")), Certificates(_made(tmp_path / "foreign"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, foreign.issue("vault")))
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                try:
                    with context.wrap_socket(connection, server_side=True) as talk:
                        heard.append(talk.recv(1 << 16))
                except OSError:
                    heard.append(b"")

        thread = threading.Thread(target=serve)
        thread.start()
        address = bao.address(ids, url=f"https://127.0.0.1:{listener.getsockname()[1]}", ca=mine.ca)
        with pytest.raises(TrustError, match="could not prove who it is") as caught:
            VaultKeys(Vault(address, clock=SystemClock()), mount=MOUNT).ensure("releases")
        thread.join()
    assert "ca_file" in caught.value.hint
    assert heard == [b""]


def _made(path):
    path.mkdir()
    return path
