"""What `test_update_machine` puts around the real reconciler: signers in memory, and a journal that looks at itself."""

from __future__ import annotations

from pathlib import Path

from edge.update.journal import Entry, Journal
from edge.update.machine import TABLE, TERMINAL
from edge.update.plan import MAX_TRIALS
from edge.update.trust import Desired
from shared.bundle import Challenge, Release, Runtime, Variant, choose
from shared.errors import FaultError, TransportError
from shared.messages import Stage
from shared.trust.marks import Marks

EDGES = {(before, after) for (before, _), after in TABLE.items()}


class CrashError(BaseException):
    """Stands for the end of the process."""


class Signers:
    """The twin of `edge.update.trust.Trust`: what is desired, and the marks, which survive restarts."""

    def __init__(self) -> None:
        self.releases: dict[str, Release] = {}
        self.wanted = Desired()
        self.marks = Marks()
        self.silent = False
        self.version = 0

    def want(self, release: str | None, challenger: str | None) -> None:
        self.version += 1
        self.wanted = Desired(
            releases={"m": release} if release else {},
            challengers={"m": Challenge(release=challenger)} if challenger else {},
        )

    async def desired(self, device: str) -> Desired:
        if self.silent:
            raise TransportError("no link")
        return self.wanted

    async def release(self, release: str) -> Release:
        return self.releases[release]

    async def model_keys(self) -> dict[str, str]:
        return {}

    def admit(self, release: Release) -> Variant:
        self.marks.check_release(release)
        variant = choose(release, hardware=["cpu"], runtimes=[Runtime.ONNXRUNTIME])
        assert variant is not None
        return variant

    async def remember(self, release: Release) -> None:
        self.marks = self.marks.raise_release(release)

    def fallback(self, variant: Variant) -> str:
        """Every file is for the runtime that the owner prefers."""
        return ""

    def has_run(self, release: Release) -> bool:
        mark = self.marks.releases.get(release.model)
        return mark is not None and release.counter <= mark.counter

    @property
    def fingerprint(self) -> str:
        return str(self.version)


class WatchedJournal(Journal):
    """A journal that checks what is written into it, is full when told so, and ends the process at a write."""

    def __init__(self, path: Path, seen: Seen) -> None:
        super().__init__(path)
        self.seen = seen
        self.full = False
        self.fuse = -1
        self.after = False

    def write(self, model: str, entry: Entry) -> None:
        if self.full:
            raise FaultError("no space left")
        self.fuse -= 1
        if self.fuse == 0 and not self.after:
            raise CrashError
        self.seen.check(self.entry(model), entry)
        super().write(model, entry)
        if self.fuse == 0:
            raise CrashError


class Seen:
    """All that was ever journalled, and what was wrong about it; the agent would survive an assertion of ours."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.failures: dict[str, int] = {}
        self.barred: set[str] = set()

    def check(self, before: Entry | None, after: Entry) -> None:
        """No step that is not in the table; no trial of what has failed often enough."""
        same = before is not None and before.release == after.release
        came_from = before.stage if before is not None and same else None
        if came_from is not after.stage:
            begun = came_from is None or came_from in TERMINAL or came_from is Stage.OFFERED
            # what serves may relapse, whatever was offered meanwhile, itself included
            relapsed = after.stage is Stage.ROLLED_BACK and "in service" in after.reason
            if not (
                (came_from, after.stage) in EDGES
                or (begun and ((Stage.OFFERED, after.stage) in EDGES or after.stage is Stage.OFFERED))
                or relapsed
            ):
                self.wrong.append(f"{after.release} went from {came_from} to {after.stage}")
            self._count(came_from, after)

    def _count(self, came_from: Stage | None, after: Entry) -> None:
        name = after.release
        if after.stage in (Stage.SHADOW, Stage.TRIAL) and came_from is not Stage.SHADOW:
            enough = self.failures.get(name, 0) >= MAX_TRIALS or name in self.barred
            self.wrong += [f"{name} is tried again, though it failed here often enough"] if enough else []
        if after.stage is Stage.ACTIVE:
            self.failures[name] = 0
        if after.stage is Stage.ROLLED_BACK and came_from in (Stage.SHADOW, Stage.TRIAL):
            self.failures[name] = self.failures.get(name, 0) + 1
        if after.stage is Stage.ROLLED_BACK and "in service" in after.reason:
            self.barred.add(name)
