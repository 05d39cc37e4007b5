"""The broker's rules as text: mosquitto's configuration and its access list.

Facts of mosquitto 2.0 that shape them: a subscription that the list forbids is granted and then stays silent, so
rights are tested by delivery; SIGHUP reloads the list and the revocation list but keeps a revoked device connected,
which then may neither write nor read because its entry is gone; whatever has no entry has no rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shared.ids import REPLICA, DeviceId, FleetId, TenantId, check_name
from shared.topics import ROOT, desired, matches, tuf_all

COORDINATOR = "coordinator"
"""Common name of the coordinator's certificate."""

MAX_PACKET = 4 << 20
"""Bytes. The largest message is the manifest of a model of several GiB; chunks are 256 KiB."""

MAX_QUEUED = 1000
"""Messages that wait for one slow client; what does not fit is dropped and asked for again."""

MAX_QUEUED_BYTES = 64 << 20
"""Bytes that wait for one slow client: 250 chunks."""


class Access(StrEnum):
    """What a rule allows, in mosquitto's words."""

    READ = "read"
    WRITE = "write"
    BOTH = "readwrite"


@dataclass(frozen=True, slots=True)
class Rule:
    """One right on the topics that a filter names."""

    access: Access
    topic_filter: str


@dataclass(frozen=True, slots=True)
class Grant:
    """An enrolled device and where it belongs."""

    device: DeviceId
    fleet: FleetId
    tenant: TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """What the broker reads; all paths absolute."""

    ca: Path
    """Certificates (PEM) of the authority that signs devices and servers."""

    certificate: Path
    key: Path
    access: Path
    """The access list, see `render_access`."""

    revoked: Path | None = None
    """Revocation list (PEM)."""

    data: Path | None = None
    """Directory in which retained messages survive a restart of the broker; None keeps them in memory."""

    pid: Path | None = None
    """Where the broker writes its process id, so that the coordinator can have it read its lists again."""


def rules(grant: Grant) -> tuple[Rule, ...]:
    """All that one device may do."""
    own = f"{ROOT}/d/{grant.device}"
    return (
        Rule(Access.WRITE, f"{own}/up/#"),
        Rule(Access.READ, f"{own}/down/#"),
        Rule(Access.READ, desired(grant.fleet)),
        Rule(Access.READ, tuf_all(grant.tenant)),
        Rule(Access.READ, f"{ROOT}/blob/#"),
    )


def coordinators(replicas: Sequence[str]) -> list[str]:
    """Common names of all coordinators: one session for each, since a second one of a name ends the first."""
    return [f"{REPLICA}{check_name(name)}" for name in replicas] or [COORDINATOR]


def render_access(
    grants: Iterable[Grant], *, observers: Sequence[str] = (), coordinators: Sequence[str] = (COORDINATOR,)
) -> str:
    """The access list, in a stable order.

    Args:
        grants: enrolled devices; a revoked one is simply left out.
        observers: common names that may read everything and write nothing.
        coordinators: common names that may do everything.

    Raises:
        ContractError: a name could break out of its line.
    """
    everything = f"{ROOT}/#"
    blocks = [_block(name, [Rule(Access.BOTH, everything)]) for name in coordinators]
    blocks += [_block(name, [Rule(Access.READ, everything)]) for name in sorted(observers)]
    blocks += [_block(grant.device, _checked(grant)) for grant in sorted(grants, key=lambda grant: grant.device)]
    return "\n".join(blocks)


def render_config(files: BrokerFiles, *, port: int, address: str = "127.0.0.1", user: str = "mosquitto") -> str:
    """`mosquitto.conf` for one listener that takes only clients with a certificate of our authority.

    Args:
        files: what the broker reads.
        port: TCP port of the listener.
        address: address the listener is bound to; opening it to a network is the operator's decision.
        user: account the broker becomes when it is started as root; it must be able to read `files`.
    """
    lines = [
        "per_listener_settings false",
        "allow_anonymous false",
        f"acl_file {files.access}",
        f"user {user}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
        f"max_packet_size {MAX_PACKET}",
        f"max_queued_messages {MAX_QUEUED}",
        f"max_queued_bytes {MAX_QUEUED_BYTES}",
        "set_tcp_nodelay true",
        *_persistence(files.data),
        f"listener {port} {address}",
        f"cafile {files.ca}",
        f"certfile {files.certificate}",
        f"keyfile {files.key}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        # a client id is anybody's choice; as the common name it cannot push another device off its session
        "use_username_as_clientid true",
        *([f"crlfile {files.revoked}"] if files.revoked else []),
        *([f"pid_file {files.pid}"] if files.pid else []),
    ]
    return "\n".join(lines) + "\n"


class AccessList:
    """The same rules as a question, for brokers that live in this process."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._rules: dict[str, tuple[Rule, ...]] = {grant.device: rules(grant) for grant in grants}
        self._rules[COORDINATOR] = (Rule(Access.BOTH, f"{ROOT}/#"),)

    def __call__(self, identity: str, access: str, topic: str) -> bool:
        """Whether `identity` may `read` or `write` on `topic`."""
        if identity.startswith(REPLICA):
            identity = COORDINATOR
        return any(
            rule.access in (access, Access.BOTH) and matches(rule.topic_filter, topic)
            for rule in self._rules.get(identity, ())
        )


def _checked(grant: Grant) -> tuple[Rule, ...]:
    for name in (grant.device, grant.fleet, grant.tenant):
        check_name(name)  # a line feed or a wildcard here would be a right for everybody
    return rules(grant)


def _block(name: str, rights: Iterable[Rule]) -> str:
    return "".join([f"user {name}\n", *(f"topic {rule.access} {rule.topic_filter}\n" for rule in rights)])


def _persistence(data: Path | None) -> list[str]:
    if data is None:
        return ["persistence false"]
    return ["persistence true", f"persistence_location {data}/", "autosave_interval 60"]
