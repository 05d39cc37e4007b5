"""The whole update station of a device under arbitrary orders of wishes, failures, crashes and restarts.

The real reconciler over slots on disk, a broker in memory and the twin of inference. What is not real is the metadata:
its signers are here, so that an example takes milliseconds and not a repository.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud.distribution.blobs import MemoryBlobs
from cloud.distribution.chunks import ChunkServer
from edge.update.download import Patience
from edge.update.parts import Parts
from edge.update.plan import SILENCE_S
from edge.update.reconcile import Reconciler
from edge.update.resume import MAX_STARTS
from edge.update.serving import MemoryServing
from edge.update.slots import Slots
from shared.bundle import Release, Runtime, Schema, Variant, split
from shared.bus.memory import MemoryBroker
from shared.clock import SystemClock, VirtualClock
from shared.errors import FaultError, TrustError
from shared.ids import device_id
from shared.messages import Stage, UpdateStatus
from tests.property.update_station import CrashError, Seen, Signers, WatchedJournal

DEVICE = device_id("device-a")
PATIENCE = Patience(silence_s=0.05, most_s=0.1, give_up_s=1)
BROKEN = {
    "does not load": FaultError("no memory"),
    "not to be parsed": TrustError("custom operator"),
    "raises": ZeroDivisionError("deep"),
}
KINDS = st.sampled_from(["good", "good", "good", *BROKEN])
TURNS = st.integers(0, 3)


class DeviceMachine(RuleBasedStateMachine):
    """One device of one model line."""

    @initialize(serves=st.booleans())
    def first(self, serves):
        self.directory = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.random, self.counter = Random(1), 0
        self.signers, self.seen, self.blobs = Signers(), Seen(), MemoryBlobs()
        self.clock = VirtualClock()
        self.broken: dict[str, Exception] = {}
        self.sick: dict[str, str] = {}
        self.committed: set[str] = set()
        self.said: list[UpdateStatus] = []
        broker = MemoryBroker()
        self.bus = broker.bus(DEVICE)
        coordinator = broker.bus("coordinator")
        server = ChunkServer(coordinator, self.blobs, clock=SystemClock(), gather_s=0, quiet_s=0.01)
        self.tasks = []

        async def begin():
            self.tasks = [asyncio.create_task(part.run()) for part in (coordinator, self.bus, server)]
            while not (coordinator.connected and self.bus.connected):
                await asyncio.sleep(0)

        self.runner.run(begin())
        self.start()
        if serves:
            self.desire("good", 1)

    def teardown(self):
        if not hasattr(self, "runner"):
            return

        async def end():
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        try:
            self.a_good_release_brings_it_back()
        finally:
            self.runner.run(end())
            self.runner.close()
            shutil.rmtree(self.directory)

    def start(self):
        """A new process over the same disk."""
        self.serving = MemoryServing()
        self.serving.broken, self.serving.sick = self.broken, self.sick
        self.journal = WatchedJournal(self.directory / "journal.json", self.seen)
        parts = Parts(
            device=DEVICE,
            models=self.directory / "models",
            bus=self.bus,
            trust=self.signers,
            journal=self.journal,
            serving=self.serving,
            report=self.hear,
            clock=self.clock,
            random=Random(1),
            patience=PATIENCE,
        )
        self.said.clear()
        self.reconciler = Reconciler(parts)
        self.runner.run(self.reconciler.resume())

    async def hear(self, status):
        self.said.append(status)

    @property
    def slots(self) -> Slots:
        return Slots(self.directory / "models", "m")

    def held(self, slot: str | None) -> str:
        with suppress(TrustError):
            return self.slots.inspect(slot, keys={}).release.id if slot else ""
        return ""

    def sign(self) -> str:
        self.counter += 1
        data = self.random.randbytes(200)
        variant = Variant(
            name="m.onnx",
            runtime=Runtime.ONNXRUNTIME,
            precision="fp32",
            hardware=["cpu"],
            digest=self.blobs.put(data),
            size=len(data),
            chunks=split(data),
        )
        schema = Schema(kind="classification", labels=["a"], input_shape=[1])
        release = Release(
            id=f"m-{self.counter}", model="m", counter=self.counter, schema=schema, variants=[variant], created=1.0
        )
        self.signers.releases[release.id] = release
        return release.id

    @property
    def wanted(self) -> str | None:
        return self.signers.wanted.releases.get("m")

    @property
    def challenger(self) -> str | None:
        challenge = self.signers.wanted.challengers.get("m")
        return challenge.release if challenge else None

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.runner.run(self.reconciler.reconcile_once())

    def signed(self, kind: str) -> str:
        release = self.sign()
        if kind != "good":
            self.broken[release] = BROKEN[kind]
        return release

    @rule(kind=KINDS, turns=TURNS)
    def desire(self, kind, turns):
        self.signers.want(self.signed(kind), None)
        self.turns(turns)

    @rule(kind=KINDS, turns=TURNS)
    def challenge(self, kind, turns):
        self.signers.want(self.wanted, self.signed(kind))
        self.turns(turns)

    @precondition(lambda self: self.challenger)
    @rule(turns=TURNS)
    def promote(self, turns):
        self.signers.want(self.challenger, None)
        self.turns(turns)

    @precondition(lambda self: self.challenger)
    @rule(turns=TURNS)
    def withdraw(self, turns):
        self.signers.want(self.wanted, None)
        self.turns(turns)

    @precondition(lambda self: self.counter > 1)
    @rule(back=st.integers(1, 3), beside=st.booleans(), turns=TURNS)
    def offer_again(self, back, beside, turns):
        """What was offered before; it may be older than what ran, or have failed."""
        release = f"m-{max(1, self.counter - back)}"
        self.signers.want(self.wanted if beside else release, release if beside else self.challenger)
        self.turns(turns)

    @rule(seconds=st.sampled_from([70.0, 700.0, SILENCE_S]))
    def hear_nothing(self, seconds):
        self.signers.silent = True
        self.turns(1)
        self.clock.advance(seconds)
        self.turns(1)
        self.signers.silent = False

    @precondition(lambda self: self.serving.serving)
    @rule(turns=TURNS, crash=st.integers(0, 5))
    def the_champion_fails(self, turns, crash):
        self.sick[self.serving.serving["m"]] = "it hangs in service"
        if crash:
            self.crash_at(crash, after=False)
        self.turns(turns)

    @precondition(lambda self: self.serving.challengers)
    @rule(turns=TURNS, crash=st.integers(0, 3))
    def the_challenger_fails(self, turns, crash):
        self.sick[self.serving.challengers["m"]] = "it hangs"
        if crash:
            self.crash_at(crash, after=False)
        self.turns(turns)

    @rule()
    def heal(self):
        """What failed was not the release, but what it was given."""
        self.sick.clear()
        self.broken.clear()

    @rule(seconds=st.sampled_from([10.0, 700.0]), turns=st.integers(1, 4))
    def wait(self, seconds, turns):
        for _ in range(turns):
            self.clock.advance(seconds)
            self.turns(1)

    @rule(fuse=st.integers(1, 7), after=st.booleans(), turns=TURNS)
    def crash(self, fuse, after, turns):
        self.crash_at(fuse, after=after)
        self.turns(turns)

    @rule()
    def turn_with_a_full_disk(self):
        self.journal.full = True
        self.turns(1)
        self.journal.full = False

    @rule(times=st.sampled_from([1, 1, 2, MAX_STARTS + 1]), turns=TURNS)
    def restart(self, times, turns):
        for _ in range(times):
            self.start()
            self.turns(turns)

    @rule(slots=st.sampled_from(["A", "B", "AB"]), part=st.sampled_from(["m.onnx", "slot.json"]), turns=TURNS)
    def rot(self, slots, part, turns):
        for slot in slots:
            path = self.directory / "models" / "m" / slot / part
            if path.exists():
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
        self.turns(turns)
        self.start()

    def crash_at(self, fuse: int, *, after: bool) -> None:
        """Turn until the process ends at a write of the journal, and start again."""
        self.journal.fuse, self.journal.after = fuse, after
        with suppress(CrashError):
            self.turns(2)
        self.note_commits()
        self.start()

    def note_commits(self):
        active = self.slots.active() if (self.directory / "models" / "m").exists() else None
        if name := self.held(active):
            self.committed.add(name)

    @invariant()
    def every_step_was_in_the_table_and_nothing_was_tried_too_often(self):
        assert not hasattr(self, "seen") or not self.seen.wrong, self.seen.wrong

    @invariant()
    def what_serves_was_committed_or_nothing_does_and_that_is_said(self):
        if not hasattr(self, "serving"):
            return
        self.note_commits()
        serves = self.serving.serving.get("m", "")
        assert serves == self.reconciler.active.get("m", "")
        if serves:
            assert serves in self.committed
            assert self.held(self.slots.active()) in (serves, "")  # nothing where the seal has rotted meanwhile
        elif self.committed:
            assert any(status.stage is Stage.FAILED and status.reason for status in self.said)

    @invariant()
    def only_what_the_journal_says_runs_in_the_shadow(self):
        if not hasattr(self, "serving"):
            return
        entry, runs = self.journal.entry("m"), self.serving.challengers.get("m")
        if runs:
            assert entry is not None
            assert (entry.stage, entry.release) == (Stage.SHADOW, runs)
            assert self.serving.serving

    def a_good_release_brings_it_back(self):
        """Whatever has happened: a good release, a link and time are enough."""
        self.signers.silent = False
        self.heal()
        release = self.sign()
        self.signers.want(release, None)
        for _ in range(3):
            self.clock.advance(700)
            self.runner.run(self.reconciler.reconcile_once())
        assert self.serving.serving == {"m": release}
        assert msgspec.json.encode(self.journal.entry("m"))


TestDevice = DeviceMachine.TestCase
TestDevice.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
