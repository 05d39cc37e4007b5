"""Everything a coordinator can be told.

`hinterland-coordinator init` writes `coordinator.toml` into the coordinator's directory, one table a group below;
the environment has the last word: `HINTERLAND_<GROUP>_<FIELD>`, for example `HINTERLAND_API_PORT=8443`. The directory
itself is `HINTERLAND_DIR`. This is the one module that reads the environment.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloud.addresses import UNSPECIFIED, ApiSettings, BrokerSettings, SuperlinkSettings
from cloud.central.settings import JobSettings
from cloud.cluster.settings import ClusterSettings, check_cluster
from cloud.devices.broker import coordinators
from cloud.layout import Layout
from cloud.tracking.settings import TrackingSettings
from shared.errors import RefusedError
from shared.ids import fleet_id, tenant_id
from shared.task_compute import Compute, check_compute

PREFIX = "HINTERLAND_"
DEFAULT_DIRECTORY = "/var/lib/hinterland-coordinator"

Kept = Literal["file", "vault", "pkcs11"]
"""Where signing keys can live; `cloud.release.rings.Ring`."""


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose coordinator this is."""

    tenant: str = "default"
    fleets: list[str] = msgspec.field(default_factory=lambda: ["default"])
    """Fleets whose desired state is signed here; the first is where a device belongs whose token does not say."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where state is kept."""

    url: str = ""
    """SQLAlchemy URL, for example `postgresql+psycopg://…`; an SQLite file in the directory when empty."""

    keep_days: float = 90.0
    """Days for which telemetry, drift reports and the timeline are kept; 0 keeps them for ever."""


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long devices are believed, and what an identity in two places means."""

    certificate_days: float = 30.0
    """Life of a device's certificate; renewal begins at half of it. Shorter, and a key that was taken unnoticed is of
    use for less long; longer, and devices may be switched off, or the coordinator away, for longer."""

    rescue_days: float = 90.0
    """After a certificate has expired, in which its device may still get another one by itself; 0 for none, and then
    every device that was away for too long needs a new token."""

    on_clone: Literal["alarm", "revoke"] = "alarm"
    """What follows when one key seems to be in two places: an alarm, or the device is revoked at once. Devices whose
    disks are restored from copies look the same; so people decide unless you say otherwise."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who operates the coordinator, beside the holders of API keys, and how often anybody may ask."""

    issuer: str = ""
    """An OpenID Connect issuer whose tokens are taken, as in their `iss`; none when empty."""

    audience: str = ""
    """What its tokens for this coordinator carry in `aud`; an issuer needs one."""

    keys_url: str = ""
    """Where the issuer's public keys are; what its discovery document says when empty."""

    issuer_ca: str = ""
    """PEM file with the authority of the issuer's own certificate; the system's when empty."""

    algorithms: list[str] = msgspec.field(default_factory=lambda: ["RS256", "ES256", "EdDSA"])
    """Signature algorithms that are taken; only asymmetric ones can be."""

    name_claim: str = "sub"
    roles_claim: str = "roles"
    """Claim with a list of viewer, operator, release-manager, admin."""

    tenant_claim: str = "tenant"
    """Claim that must name this coordinator's tenant."""

    fleets_claim: str = "fleets"
    """Claim with a list of fleets; every fleet when a token has none."""

    approvals: int = 0
    """Persons that must approve a release before it is signed: 0, 1 or 2; of two, neither may be the one who
    ordered it."""

    budget_approvals: int = 0
    """Persons, beside the one who asks, that must agree before a population's privacy budget grows: 0, 1 or 2."""

    per_minute: int = 6000
    """Requests of one operator."""

    strangers_per_minute: int = 600
    """Requests of one address without a credential: enrolment, renewal, rescue; sites share an address."""

    failures_per_minute: int = 300
    """Wrong credentials of one address, after which keys from there that were not proven before are not looked at;
    each costs 20 ms of a processor."""


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the coordinator goes round."""

    every_s: float = 1.0
    """Longest time between two looks at the state of the world."""

    attempts: int = 5
    """Job processes started for one federated run, without a newly committed round or phase, before it is given up."""

    renew_s: float = 600.0
    """Time between two looks at what must be signed again before it expires."""


class SecretSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How keys on disk are opened."""

    passphrase_file: str = ""
    """File with the passphrase of all sealed keys; `keys/passphrase` in the directory when empty. Keep it on another
    disk, or mount it from a secret store; or say `vault:<mount>/<path>#<field>`, and it is read there at each start."""

    control_token: str = ""
    """`vault:<mount>/<path>#<field>` of the token that opens the SuperLink; the file that `init` made when empty."""


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which ring each role's signing keys live: `file`, `vault` or `pkcs11`; in that of `default` when empty."""

    default: Kept = "file"
    root: Kept | Literal[""] = ""
    """2 of 3 decide who may sign at all; needed once a year, so a token in a safe suits them."""

    targets: Kept | Literal[""] = ""
    """Decides who signs releases and which fleets there are; needed for each new fleet."""

    releases: Kept | Literal[""] = ""
    fleets: Kept | Literal[""] = ""
    snapshot: Kept | Literal[""] = ""
    timestamp: Kept | Literal[""] = ""
    """Signs twice a day at least, so nobody can be asked for a PIN each time."""

    models: Kept | Literal[""] = ""
    """Keys of OpenSSF Model Signing and of the attestor."""

    authority: Literal["file", "vault"] = "file"
    """Who certifies devices and servers: a sealed key, or a Vault's PKI engine."""


class VaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Vault or OpenBao server, for whatever is kept there."""

    url: str = ""
    """For example `https://vault.example:8200`; without TLS only on this machine."""

    ca_file: str = ""
    """Authority of its certificate, PEM; the system's when empty."""

    namespace: str = ""
    role_id_file: str = ""
    """AppRole that the coordinator logs in with."""

    secret_id_file: str = ""
    """Mode 0600."""

    login_mount: str = "approle"
    transit_mount: str = "hinterland-default"
    """Signing keys; one mount a tenant, so that a policy tells tenants apart."""

    pki_mount: str = "hinterland-default-pki"
    """Certificates, with the roles `device`, `server` and `client`."""

    deadline_s: float = 5.0
    """For a connection, and again for each answer; then publishing pauses."""


class Pkcs11Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A smart card, a security key, an HSM."""

    module: str = ""
    """The vendor's library."""

    token: str = "hinterland"  # noqa: S105  a label
    """Label of the token; `{key}` in it stands for the key's name, so that each key may have a token of its own."""

    slot: int = -1
    """Taken instead of the label when it is not negative."""

    pin_file: str = ""
    """File with the PIN; asked for at the terminal when empty."""


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the audit log is held against itself."""

    anchor_file: str = ""
    """File that the newest digest of the log is appended to; `audit-anchors.jsonl` in the directory when empty. On a
    disk that this machine may only append to, it convicts whoever writes the whole log anew."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole."""

    identity: IdentitySettings = IdentitySettings()
    api: ApiSettings = ApiSettings()
    broker: BrokerSettings = BrokerSettings()
    superlink: SuperlinkSettings = SuperlinkSettings()
    store: StoreSettings = StoreSettings()
    devices: DeviceSettings = DeviceSettings()
    access: AccessSettings = AccessSettings()
    loop: LoopSettings = LoopSettings()
    jobs: JobSettings = JobSettings()
    tracking: TrackingSettings = TrackingSettings()
    cluster: ClusterSettings = ClusterSettings()
    secrets: SecretSettings = SecretSettings()
    keys: KeySettings = KeySettings()
    vault: VaultSettings = VaultSettings()
    pkcs11: Pkcs11Settings = Pkcs11Settings()
    audit: AuditSettings = AuditSettings()
    directory: str = DEFAULT_DIRECTORY
    """Everything the coordinator owns; set by `HINTERLAND_DIR` or `--dir`."""

    @property
    def layout(self) -> Layout:
        """The files of the directory."""
        return Layout(Path(self.directory).absolute())

    @property
    def fleet(self) -> str:
        """Where a device belongs whose token does not say."""
        return self.identity.fleets[0]

    @property
    def coordinators(self) -> list[str]:
        """Common names of all coordinators at the broker."""
        return coordinators(self.cluster.replicas)

    @property
    def name(self) -> str:
        """Common name of this one."""
        return coordinators([self.cluster.replica] if self.cluster.replica else [])[0]

    @property
    def public_host(self) -> str:
        """Name or address under which devices reach the API."""
        return self.api.public_host or self.api.host

    @property
    def url(self) -> str:
        """Of the API, as devices and operators reach it."""
        return f"https://{self.public_host}:{self.api.port}"

    @property
    def superlink_address(self) -> str:
        """Of the SuperLink as devices reach it, `host:port`."""
        return f"{self.superlink.host}:{self.superlink.port}"

    @property
    def superlink_inside(self) -> str:
        """Of the SuperLink as our own processes reach it, `host:port`."""
        return f"{self.superlink.inside or self.superlink.host}:{self.superlink.port}"

    @property
    def server_names(self) -> dict[str, list[str]]:
        """Server → the names and addresses under which it is reached, for its certificate."""
        told = {
            "api": [self.public_host, self.api.host, self.api.inside],
            "broker": [self.broker.host, self.broker.inside],
            "superlink": [self.superlink.host, self.superlink.inside],
        }
        return {server: [name for name in names if name and name not in UNSPECIFIED] for server, names in told.items()}

    @property
    def anchor_file(self) -> Path:
        """Where heads of the audit log are noted."""
        return Path(self.audit.anchor_file) if self.audit.anchor_file else self.layout.anchors

    @property
    def data_directory(self) -> Path:
        """Where data sets of the company's own are."""
        return Path(self.jobs.data).absolute() if self.jobs.data else self.layout.data

    @property
    def passphrase_file(self) -> Path:
        """Where the passphrase is."""
        return Path(self.secrets.passphrase_file) if self.secrets.passphrase_file else self.layout.passphrase


def directory_from(environ: Mapping[str, str]) -> Path:
    """The coordinator's directory, as the environment names it."""
    return Path(environ.get(f"{PREFIX}DIR", DEFAULT_DIRECTORY)).absolute()


def read_settings(directory: Path, environ: Mapping[str, str]) -> Settings:
    """What the directory's file says, and the environment over it.

    Raises:
        RefusedError: the directory was not initialised, or a value is none.
    """
    path = Layout(directory).settings
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise RefusedError(
            f"{directory} is not the directory of a coordinator", hint="Make it: `hinterland-coordinator init`."
        ) from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RefusedError(f"{path} cannot be read: {error}", hint="Correct the file.") from error
    return make_settings(document, environ, directory=directory)


def make_settings(document: Mapping[str, Any], environ: Mapping[str, str], *, directory: Path) -> Settings:
    """Settings from a parsed document and the environment over it.

    Raises:
        RefusedError: a field is unknown, or a value is none.
        ContractError: a name is none.
    """
    merged = {group: dict(values) for group, values in document.items()}
    for group in msgspec.structs.fields(Settings):
        if group.name != "directory":
            _overlay(merged, group, environ)
    try:
        settings = msgspec.convert({**merged, "directory": str(directory)}, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(f"a setting is wrong: {error}", hint="See `cloud/settings.py` for every field.") from error
    tenant_id(settings.identity.tenant)
    if settings.access.approvals not in (0, 1, 2):
        raise RefusedError("a release waits for 0, 1 or 2 approvals", hint="Correct [access] approvals.")
    if settings.access.budget_approvals not in (0, 1, 2):
        raise RefusedError("a budget waits for 0, 1 or 2 approvals", hint="Correct [access] budget_approvals.")
    if not settings.identity.fleets:
        raise RefusedError("a coordinator needs a fleet", hint="Name one: `--fleet default`.")
    for fleet in settings.identity.fleets:
        fleet_id(fleet)
    check_cluster(settings.cluster)
    check_compute(Compute(device=settings.jobs.device, precision=settings.jobs.precision))
    return settings


def render_settings(settings: Settings) -> str:
    """`coordinator.toml`."""
    groups = msgspec.to_builtins(settings)
    del groups["directory"]
    tables = []
    for name, group in groups.items():
        lines = [f"{field} = {msgspec.json.encode(value).decode()}" for field, value in group.items()]
        tables.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(tables) + "\n"


def _overlay(merged: dict[str, dict[str, Any]], group: msgspec.structs.FieldInfo, environ: Mapping[str, str]) -> None:
    for field in msgspec.structs.fields(group.type):
        text = environ.get(f"{PREFIX}{group.name}_{field.name}".upper())
        if text is not None:
            value = text.split(",") if field.type == list[str] else text
            merged.setdefault(group.name, {})[field.name] = value
