"""Any message on any of our topics, in words."""

from __future__ import annotations

from typing import Any

import msgspec

from shared import messages
from shared.codec import unpack
from shared.errors import ContractError
from shared.topics import ROOT, Up, parse_chunk, parse_up

LONGEST = 48
"""Bytes of a value that are shown in full; sketches are longer and say nothing to a person."""

_BODIES: dict[Up, type[msgspec.Struct]] = {
    Up.TELEMETRY: messages.Telemetry,
    Up.DRIFT: messages.DriftReport,
    Up.UPDATE: messages.UpdateStatus,
    Up.SHADOW: messages.ShadowReport,
}
_DOWN: dict[str, type[msgspec.Struct]] = {"ack": messages.Ack, "command": messages.Command}


def decode(topic: str, payload: bytes) -> dict[str, Any]:
    """What a message says, as plain JSON values.

    Raises:
        ContractError: the topic is none of ours, or the payload does not fit it.
    """
    match topic.removeprefix(f"{ROOT}/").split("/"):
        case ["d", _, "up", _]:
            return _up(topic, payload)
        case ["d", _, "down", kind] if kind in _DOWN:
            return _plain(unpack(payload, _DOWN[kind]))
        case ["f", _, "desired"]:
            return _plain(unpack(payload, messages.Desired))
        case ["blob", *_]:
            digest, index = parse_chunk(topic)
            return {"blob": digest, "chunk": index, "bytes": len(payload)}
        case ["tuf", _, *path]:
            return _tuf("/".join(path), payload)
    raise ContractError(f"{topic[:120]!r} is no topic of ours")


def _up(topic: str, payload: bytes) -> dict[str, Any]:
    channel = parse_up(topic).channel
    if channel is Up.WANT:
        return _plain(unpack(payload, messages.Want))
    batch = unpack(payload, messages.Batch)
    records = [
        {"seq": record.seq, "at": record.at, **_plain(unpack(record.body, _BODIES[channel]))}
        for record in batch.records
    ]
    return {"boot": batch.boot, "dropped": batch.dropped, "records": records}


def _tuf(path: str, payload: bytes) -> dict[str, Any]:
    if not payload:
        return {"file": path, "cleared": True}
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"{path} is no JSON: {error}") from error
    signed = document.get("signed") if isinstance(document, dict) else None
    if not isinstance(signed, dict):
        return {"file": path, "bytes": len(payload)}
    return {"file": path, **{name: signed.get(name) for name in ("_type", "version", "expires")}}


def _plain(message: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = _short(msgspec.to_builtins(message, builtin_types=(bytes,)))
    return built


def _short(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex() if len(value) <= LONGEST else f"{len(value)} bytes"
        case dict():
            return {name: _short(held) for name, held in value.items()}
        case list():
            return [_short(held) for held in value]
    return value
