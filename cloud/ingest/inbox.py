"""The port to durable storage of what devices report, and its in-memory twin.

`tests/contract/test_inbox.py` runs against every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shared.ids import DeviceId
from shared.messages import Batch, Record
from shared.topics import Up


class Arrival(NamedTuple):
    """A batch, and the device whose topic it came on."""

    device: DeviceId
    batch: Batch


class Inbox(Protocol):
    """Where records become durable, each exactly once."""

    def store(self, arrivals: Sequence[Arrival], *, at: float) -> list[int]:
        """Commit all records of `arrivals` in one transaction; called in a worker thread.

        A record is named by (device, boot, channel, seq); one that is already there is left as it is. An outbox
        always sends from its oldest record on, so whatever precedes a batch is durable here or was given up there.

        Args:
            arrivals: checked batches; the same record may occur in several.
            at: Unix seconds of receipt.

        Returns:
            For each arrival the highest durable `seq` of its (device, boot, channel) after the commit, 0 for none.

        Raises:
            HinterlandError: nothing was committed; the devices will send again.
        """
        ...


class Stream(NamedTuple):
    """One channel of one device since its outbox was made."""

    device: DeviceId
    boot: str
    channel: Up


class MemoryInbox:
    """The twin: keeps records for as long as the process lives."""

    def __init__(self) -> None:
        self.records: dict[Stream, dict[int, Record]] = {}
        self.dropped: dict[Stream, int] = {}
        """What each device says it gave up."""

    def store(self, arrivals: Sequence[Arrival], *, at: float) -> list[int]:
        for device, batch in arrivals:
            stream = Stream(device, batch.boot, batch.channel)
            held = self.records.setdefault(stream, {})
            for record in batch.records:
                held.setdefault(record.seq, record)
            self.dropped[stream] = max(self.dropped.get(stream, 0), batch.dropped)
        return [max(self.records[Stream(device, batch.boot, batch.channel)], default=0) for device, batch in arrivals]
