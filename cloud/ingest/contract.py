"""What a batch must fulfil before anything is stored: pure checks on foreign bytes."""

from __future__ import annotations

import math
import re

from cloud.ingest.inbox import Arrival
from shared.codec import unpack
from shared.errors import ContractError
from shared.messages import Batch
from shared.topics import Up, parse_up

ACKNOWLEDGED = (Up.TELEMETRY, Up.DRIFT, Up.UPDATE, Up.SHADOW)
"""Channels whose records are stored."""

MAX_SEQ = 1 << 53
"""Far beyond any device's life, and whole in every database and in JSON."""

_EPOCH = re.compile(r"[0-9a-f]{16}")


def arrival(topic: str, payload: bytes) -> Arrival:
    """Read what came on an upward topic.

    Raises:
        ContractError: (1) the topic is none of ours, (2) no batch, (3) of another channel than its topic,
            (4) of no epoch, (5) without records or with gaps, or (6) with numbers that cannot be.
    """
    device, channel = parse_up(topic)
    batch = unpack(payload, Batch)
    if channel not in ACKNOWLEDGED or batch.channel is not channel:
        raise ContractError(f"{device} sent a batch of {batch.channel} on {channel}")
    if not _EPOCH.fullmatch(batch.boot):
        raise ContractError(f"{device} sent a batch of no epoch: {batch.boot[:40]!r}")
    _check_records(device, batch)
    return Arrival(device, batch)


def _check_records(device: str, batch: Batch) -> None:
    if not batch.records:
        raise ContractError(f"{device} sent an empty batch")
    first = batch.records[0].seq
    if [record.seq for record in batch.records] != list(range(first, first + len(batch.records))):
        raise ContractError(f"{device} sent a batch with gaps")
    if not 1 <= first <= MAX_SEQ or not 0 <= batch.dropped < first:
        raise ContractError(f"{device} sent {batch.dropped} dropped before record {first}")
    if not all(math.isfinite(record.at) for record in batch.records):
        raise ContractError(f"{device} sent a record without a time")
