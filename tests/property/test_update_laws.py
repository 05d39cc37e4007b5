"""Whatever happens in whatever order: no illegal step, no unproven byte, one whole slot."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.update.machine import TABLE, TERMINAL, Event, step
from edge.update.partial import PartialFile
from edge.update.slots import Slots
from shared.bundle import Release, Runtime, Schema, Variant, pieces, split
from shared.errors import FaultError, TrustError
from shared.ids import sha256
from shared.messages import Stage

CHUNK = 64


def release_of(data: bytes, counter: int) -> Release:
    variant = Variant(
        name="m.onnx",
        runtime=Runtime.ONNXRUNTIME,
        precision="fp32",
        hardware=["cpu"],
        digest=sha256(data),
        size=len(data),
        chunks=split(data, CHUNK),
    )
    schema = Schema(kind="classification", labels=["a"], input_shape=[1])
    return Release(id=f"m-{counter}", model="m", counter=counter, schema=schema, variants=[variant], created=1.0)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_any_order_of_events_stays_in_the_table(events):
    stage, served = Stage.OFFERED, False
    for event in events:
        try:
            after = step(stage, event)
        except FaultError:
            assert (stage, event) not in TABLE
            continue
        assert stage not in TERMINAL or served
        served |= event is Event.COMMITTED
        stage = after
    assert served or stage is not Stage.ACTIVE


@settings(deadline=None, max_examples=60)
@given(
    data=st.binary(min_size=1, max_size=600),
    arrivals=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["right", "flipped", "cut", "reopened"]))),
)
def test_chunks_in_any_order_doubled_or_altered_make_the_file_or_nothing(data, arrivals):
    variant, parts = release_of(data, 1).variants[0], list(pieces(data, CHUNK))
    with tempfile.TemporaryDirectory() as directory:
        partial = PartialFile(Path(directory) / "part", variant)
        have: set[int] = set()
        for index, what in arrivals:
            if what == "reopened":
                partial.close()
                partial = PartialFile(Path(directory) / "part", variant)
            elif index < len(parts):
                right = parts[index]
                sent = {"right": right, "flipped": bytes([right[0] ^ 1]) + right[1:], "cut": right[:-1]}[what]
                with suppress(TrustError):
                    partial.accept(index, sent)
                have |= {index} if what == "right" else set()
            assert have <= set(range(len(parts))) - set(partial.missing)
        for index in partial.missing:
            partial.accept(index, parts[index])
        assert partial.finish().read_bytes() == data


class SlotMachine(RuleBasedStateMachine):
    """Stages, commits and restarts, each possibly cut off before its last step."""

    @initialize()
    def first(self):
        self.directory = Path(tempfile.mkdtemp())
        self.random = Random(1)
        self.counter = 0
        self.committed = 0
        self.staged: str | None = None

    def teardown(self):
        shutil.rmtree(self.directory)

    @property
    def slots(self) -> Slots:
        return Slots(self.directory, "m")  # nothing is remembered between two calls

    @rule(altered=st.booleans())
    def stage(self, altered):
        self.counter += 1
        data = self.random.randbytes(200)
        release = release_of(data, self.counter)
        file = self.slots.incoming(release.variants[0])
        file.write_bytes(data[:-1] if altered else data)
        self.staged = None
        try:
            self.staged, _ = self.slots.stage(file, release=release, variant=release.variants[0], keys={})
        except TrustError:
            assert altered

    @precondition(lambda self: self.staged)
    @rule()
    def commit(self):
        self.slots.commit(self.staged)
        self.committed, self.staged = self.counter, None

    @precondition(lambda self: self.committed)
    @rule(cut=st.sampled_from(["slot.json", "manifest.json", "m.onnx"]))
    def cut_off_while_staging(self, cut):
        """A power cut leaves the idle slot without its last files."""
        (self.directory / "m" / self.slots.idle() / cut).unlink(missing_ok=True)
        self.staged = None

    @invariant()
    def the_committed_release_is_whole(self):
        if self.committed:
            assert self.slots.inspect(self.slots.active(), keys={}).release.counter == self.committed


TestSlots = SlotMachine.TestCase
TestSlots.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
