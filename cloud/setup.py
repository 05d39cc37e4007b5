"""Make a coordinator's directory, or complete one that was left half-made; whatever is there already stays."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from cloud.access.keys import create
from cloud.access.policy import DEFAULT
from cloud.devices.authority import SERVER_LIFETIME, Authority, Credentials
from cloud.devices.broker import render_config
from cloud.devices.doors import OBSERVER, BrokerDoor
from cloud.keys import make_authority, open_authority, open_keys, passphrase
from cloud.layout import Layout
from cloud.release.attest.envelope import ATTESTOR
from cloud.release.exclusive import Exclusive
from cloud.release.policy_file import TEMPLATE
from cloud.release.repository import Repository
from cloud.release.sealed import Sealer
from cloud.settings import Settings, render_settings
from cloud.store.certificates import Certificates
from cloud.store.database import Database, open_database, sqlite_url
from cloud.store.devices import Devices
from cloud.store.keys import ApiKeys
from cloud.vault import REFERENCE
from shared.clock import Clock
from shared.durable import make_directory, read_if_present, write_atomic
from shared.errors import FaultError, RefusedError

FIRST_KEY = "operator"
"""Name of the API key that set-up makes."""

API_NAME = "coordinator"
"""Common name of the API's certificate; one of the reserved names."""


def set_up(settings: Settings, *, clock: Clock, account: str) -> list[str]:
    """Make what is missing; say what was made.

    Args:
        settings: what the coordinator will be told.
        clock: decides the lifetimes of certificates and metadata.
        account: operating-system account that runs the broker when it is started as root.

    Raises:
        FaultError: the disk did not take it.
        RefusedError: a part is there but cannot be opened.
    """
    layout, made = settings.layout, []
    try:
        for private in (layout.directory, layout.keys, layout.control_token.parent, layout.runs, layout.blobs):
            make_directory(private, mode=0o700)
    except OSError as error:
        raise FaultError(
            f"{layout.directory} cannot be made: {error.strerror}", hint="Choose another with `--dir`, or use sudo."
        ) from error
    if not settings.secrets.passphrase_file.startswith(REFERENCE):
        made += _write_secret(settings.passphrase_file, "passphrase of the keys")
    if not settings.secrets.control_token:
        made += _write_secret(layout.control_token, "control token of the SuperLink")
    sealer = open_sealer(settings)
    authority, new = _authority(settings, sealer, at=clock.now())
    made += new + fit_certificates(settings, authority, at=clock.now())
    made += _repository(settings, sealer, clock)
    made += _admission(layout)
    made += _access_policy(layout)
    made += _broker(settings, authority, account=account, at=clock.now())
    write_atomic(layout.settings, render_settings(settings).encode())
    return [*made, *_profile(settings, clock)]


def open_sealer(settings: Settings) -> Sealer:
    """What opens the sealed keys.

    Raises:
        RefusedError: there is no passphrase.
    """
    return Sealer(passphrase(settings))


def open_state(settings: Settings) -> Database:
    """The database, its tables up to date.

    Raises:
        FaultError: it cannot be opened.
    """
    return open_database(settings.store.url or sqlite_url(settings.layout.database))


def open_door(settings: Settings, authority: Authority) -> BrokerDoor:
    """The broker's lists."""
    layout = settings.layout
    if layout.broker.revoked is None:
        raise RefusedError("the broker has no revocation list")
    return BrokerDoor(
        access=layout.broker.access,
        revoked=layout.broker.revoked,
        pid_file=layout.broker_pid,
        authority=authority,
        tenant=settings.identity.tenant,
        coordinators=settings.coordinators,
        signals=settings.broker.reload == "signal",
    )


def fit_certificates(settings: Settings, authority: Authority, *, at: float) -> list[str]:
    """Issue certificates of our own servers and clients that are missing, half over, or for other hosts."""
    with Exclusive(settings.layout.certificate("api").parent):  # a key of one process, a certificate of another
        return _fit_certificates(settings, authority, at=at)


def _fit_certificates(settings: Settings, authority: Authority, *, at: float) -> list[str]:
    made = []
    for file, names in settings.server_names.items():
        wanted = sorted({*names, "localhost", "127.0.0.1"})
        if not _good(settings.layout, file, wanted, at=at):
            common = API_NAME if file == "api" else file
            _keep(settings.layout, file, authority.issue_server(common, wanted, at=at))
            made.append(f"certificate of {file}")
    for name in (*settings.coordinators, OBSERVER):
        if not _good(settings.layout, name, [], at=at):
            _keep(settings.layout, name, authority.issue_client(name, at=at))
            made.append(f"certificate of {name}")
    return made


def _good(layout: Layout, name: str, hosts: Sequence[str], *, at: float) -> bool:
    held = read_if_present(layout.certificate(name))
    issuer = read_if_present(layout.ca)
    if held is None or issuer is None or read_if_present(layout.key(name)) is None:
        return False
    certificate = x509.load_pem_x509_certificate(held)
    ours = certificate.issuer == x509.load_pem_x509_certificate(issuer).subject
    lasting = certificate.not_valid_after_utc.timestamp() - at > SERVER_LIFETIME / 2
    return ours and lasting and _hosts(certificate) == set(hosts)


def _hosts(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _keep(layout: Layout, name: str, issued: Credentials) -> None:
    write_atomic(layout.key(name), issued.key.encode(), mode=0o600)
    write_atomic(layout.certificate(name), issued.certificate.encode())


def _write_secret(path: Path, what: str) -> list[str]:
    if path.exists():
        return []
    write_atomic(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    return [what]


def _authority(settings: Settings, sealer: Sealer, *, at: float) -> tuple[Authority, list[str]]:
    if Authority.exists(settings.layout.authority):
        return open_authority(settings, sealer=sealer), []
    return make_authority(settings, sealer=sealer, at=at), ["certificate authority"]


def _repository(settings: Settings, sealer: Sealer, clock: Clock) -> list[str]:
    layout, keys, made = settings.layout, open_keys(settings, sealer=sealer), []
    if Repository.exists(layout.tuf):
        repository = Repository.open(layout.tuf, keys=keys, clock=clock)
    else:
        repository = Repository.create(layout.tuf, keys=keys, tenant=settings.identity.tenant, clock=clock)
        made.append("release repository and its signing keys")
    keys.ensure(ATTESTOR)
    for fleet in settings.identity.fleets:
        if fleet not in repository.fleets():
            repository.add_fleet(fleet)
            made.append(f"fleet {fleet}")
    return made


def _access_policy(layout: Layout) -> list[str]:
    """Who may do what, for an administrator to change."""
    if layout.policy.exists():
        return []
    write_atomic(layout.policy, DEFAULT.encode())
    return [f"access policy, in {layout.policy}"]


def _admission(layout: Layout) -> list[str]:
    """The admission policy, for an operator to make stricter."""
    if layout.admission.exists():
        return []
    write_atomic(layout.admission, TEMPLATE.encode())
    return [f"admission policy, in {layout.admission}"]


def _broker(settings: Settings, authority: Authority, *, account: str, at: float) -> list[str]:
    layout = settings.layout
    if layout.broker.data is not None:
        make_directory(layout.broker.data)
    database = open_state(settings)
    with database.read() as connection:
        devices, revoked = Devices(connection).all(), Certificates(connection).revoked(at=at)
    database.close()
    open_door(settings, authority).fit(devices, revoked=revoked, at=at)
    told = settings.broker
    config = render_config(layout.broker, port=told.port, address=told.listen or told.host, user=account)
    if read_if_present(layout.broker_config) == config.encode():
        return []
    write_atomic(layout.broker_config, config.encode())
    return ["configuration of the broker"]


def _profile(settings: Settings, clock: Clock) -> list[str]:
    """The first operator's key, shown nowhere but in a file that only this account reads."""
    layout, database = settings.layout, open_state(settings)
    try:
        with database.read() as connection:
            known = ApiKeys(connection).all()
        if known:
            return []
        key = create(database, FIRST_KEY, at=clock.now())
    finally:
        database.close()
    tap = [
        "[broker]",
        f'host = "{settings.broker.host}"',
        f"port = {settings.broker.port}",
        f'certificate = "{layout.certificate(OBSERVER)}"',
        f'key = "{layout.key(OBSERVER)}"',
    ]
    lines = [f'url = "{settings.url}"', f'ca = "{layout.ca}"', f'key = "{key}"', "", *tap]
    write_atomic(layout.profile, ("\n".join(lines) + "\n").encode(), mode=0o600)
    return [f"API key of {FIRST_KEY}, in {layout.profile}"]
