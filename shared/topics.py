"""Every MQTT topic, built and parsed in one place.

hl/1/d/{device}/up/{channel}         device → coordinator   (only that device may publish)
hl/1/d/{device}/down/{kind}          coordinator → device   (only that device may read)
hl/1/f/{fleet}/desired               retained pointer to fresh signed metadata
hl/1/tuf/{tenant}/metadata/{name}    retained TUF metadata, e.g. 3.root.json, timestamp.json
hl/1/tuf/{tenant}/targets/{path}     retained small TUF targets (manifests, desired.json)
hl/1/blob/{digest}/{index}           chunks, published once for all who listen
hl/1/blob/{digest}/{form}/{index}    the same chunks in another form: compressed, or as what changed
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from shared.errors import ContractError
from shared.ids import DeviceId, Digest, FleetId, TenantId, check_digest, device_id

ROOT = "hl/1"
SHARE = "$share/"


class Up(StrEnum):
    """What devices say; all but `WANT` is acknowledged after the coordinator's commit."""

    TELEMETRY = "telemetry"
    DRIFT = "drift"
    UPDATE = "update"
    SHADOW = "shadow"
    WANT = "want"
    """A request for chunks: not acknowledged, asked again until the chunks come."""


class Down(StrEnum):
    """What a device hears."""

    ACK = "ack"
    COMMAND = "command"


class UpTopic(NamedTuple):
    """A parsed upward topic; the device id is as trustworthy as the broker's ACL."""

    device: DeviceId
    channel: Up


def up(device: DeviceId, channel: Up) -> str:
    """Topic on which `device` publishes `channel`."""
    return f"{ROOT}/d/{device}/up/{channel}"


def down(device: DeviceId, kind: Down) -> str:
    """Topic on which `device` hears `kind`."""
    return f"{ROOT}/d/{device}/down/{kind}"


def all_up(channel: Up) -> str:
    """Filter for one channel of every device."""
    return f"{ROOT}/d/+/up/{channel}"


def shared_up(channel: Up, *, group: str) -> str:
    """Filter for one channel of every device, each message to one of those who subscribe as `group`; all without it.

    The broker lets whoever names a group join it, and then gives it messages that it may not read, which are lost
    (mosquitto 2.0). So the name of a group is a secret.
    """
    return f"{SHARE}{group}/{all_up(channel)}" if group else all_up(channel)


def desired(fleet: FleetId) -> str:
    """Retained pointer that tells a fleet to look at its signed metadata."""
    return f"{ROOT}/f/{fleet}/desired"


def tuf_metadata(tenant: TenantId, name: str) -> str:
    """Retained TUF metadata file, `name` as in the TUF repository (`4.snapshot.json`)."""
    return f"{ROOT}/tuf/{tenant}/metadata/{name}"


def tuf_target(tenant: TenantId, path: str) -> str:
    """Retained small TUF target; `path` is the hash-prefixed path of a consistent snapshot."""
    return f"{ROOT}/tuf/{tenant}/targets/{path}"


def tuf_all(tenant: TenantId) -> str:
    """Filter for all retained TUF files of a tenant."""
    return f"{ROOT}/tuf/{tenant}/#"


def chunk(digest: Digest, index: int) -> str:
    """Topic of chunk `index` of the blob `digest`."""
    return f"{ROOT}/blob/{digest}/{index}"


def chunks(digest: Digest) -> str:
    """Filter for all chunks of one blob."""
    return f"{ROOT}/blob/{digest}/+"


def formed_chunk(digest: Digest, form: str, index: int) -> str:
    """Topic of chunk `index` of the blob `digest` in another form than its plain bytes (`shared.forms`)."""
    return f"{ROOT}/blob/{digest}/{form}/{index}"


def formed_chunks(digest: Digest, form: str) -> str:
    """Filter for all chunks of one blob in one form."""
    return f"{ROOT}/blob/{digest}/{form}/+"


def parse_up(topic: str) -> UpTopic:
    """Parse an upward topic.

    Raises:
        ContractError: the topic is none of ours.
    """
    match topic.split("/"):
        case ["hl", "1", "d", device, "up", channel] if channel in tuple(Up):
            return UpTopic(device_id(device), Up(channel))
    raise ContractError(f"{topic[:120]!r} is no upward topic")


def parse_chunk(topic: str) -> tuple[Digest, int]:
    """Parse a chunk topic into (blob digest, chunk index).

    Raises:
        ContractError: the topic is none of ours.
    """
    match topic.split("/"):
        case ["hl", "1", "blob", digest, index] if index.isascii() and index.isdigit() and len(index) < 8:
            return check_digest(digest), int(index)
    raise ContractError(f"{topic[:120]!r} is no chunk topic")


def parse_any_chunk(topic: str) -> tuple[Digest, str, int]:
    """Parse a chunk topic of any form into (blob digest, form, chunk index); the form of plain bytes is empty.

    Raises:
        ContractError: the topic is none of ours.
    """
    match topic.split("/"):
        case ["hl", "1", "blob", digest, form, index] if form and len(form) < 32:
            blob, number = parse_chunk(f"{ROOT}/blob/{digest}/{index}")
            return blob, form, number
    blob, number = parse_chunk(topic)
    return blob, "", number


def split_share(topic_filter: str) -> tuple[str, str]:
    """A filter's group and what it filters (MQTT 5, section 4.8.2); the group is empty for an ordinary subscription."""
    if not topic_filter.startswith(SHARE):
        return "", topic_filter
    group, _, rest = topic_filter.removeprefix(SHARE).partition("/")
    return group, rest


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5 filter matching (OASIS MQTT 5.0, section 4.7), without `$` topics."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(given) or level not in ("+", given[position]):
            return False
    return len(wanted) == len(given)
