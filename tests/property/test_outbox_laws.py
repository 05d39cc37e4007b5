"""Whatever crashes, gets lost or comes twice: each record is stored exactly once, or counted as dropped."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from cloud.ingest.contract import arrival
from cloud.ingest.inbox import MemoryInbox, Stream
from edge.link.outbox import CHANNELS, Outbox
from shared import topics
from shared.clock import VirtualClock
from shared.codec import pack
from shared.ids import device_id
from shared.messages import Ack

DEVICE = device_id("device-a")
channels = st.sampled_from(CHANNELS)


class Delivery(RuleBasedStateMachine):
    """A device with a small outbox, a coordinator, and a network that keeps copies of everything."""

    batches = Bundle("batches")
    acks = Bundle("acks")

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.random = Random(1)
        self.inbox = MemoryInbox()
        self.written = {channel: [] for channel in CHANNELS}
        self.outbox = self.open()
        self.epoch = self.outbox.epoch

    def open(self):
        return Outbox.open(self.directory, cap=2000, clock=VirtualClock(), random=self.random)

    def teardown(self):
        self.outbox.close()
        shutil.rmtree(self.directory)

    @rule(channel=channels, size=st.integers(0, 600))
    def append(self, channel, size):
        body = bytes([len(self.written[channel]) % 256]) * size
        seq = self.outbox.append(channel, body)
        self.written[channel].append(body)
        assert seq == len(self.written[channel])

    @rule(target=batches, channel=channels)
    def send(self, channel):
        batch = self.outbox.batch(channel)
        return None if batch is None else (topics.up(DEVICE, channel), pack(batch))

    @rule(target=acks, batch=batches)
    def arrive(self, batch):
        """A copy of any batch ever sent arrives; the network may do so again, or never."""
        if batch is None:
            return None
        came = arrival(*batch)
        (seq,) = self.inbox.store([came], at=0.0)
        return Ack(boot=came.batch.boot, channel=came.batch.channel, seq=seq)

    @rule(ack=acks)
    def acknowledge(self, ack):
        if ack is not None:
            self.outbox.acknowledge(ack)

    @rule()
    def crash(self):
        self.outbox.close()
        self.outbox = self.open()
        assert self.outbox.epoch == self.epoch

    @invariant()
    def stored_once_and_unaltered(self):
        for channel in CHANNELS:
            for seq, record in self.inbox.records.get(Stream(DEVICE, self.epoch, channel), {}).items():
                assert record.body == self.written[channel][seq - 1]

    @invariant()
    def nothing_vanishes_uncounted(self):
        for channel in CHANNELS:
            stored = self.inbox.records.get(Stream(DEVICE, self.epoch, channel), {})
            ledger = self.outbox.ledger(channel)
            held = range(ledger.last - ledger.pending + 1, ledger.last + 1)
            gone = [seq for seq in range(1, ledger.last + 1) if seq not in stored and seq not in held]
            assert ledger.last == len(self.written[channel])
            assert len(gone) <= ledger.dropped


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
