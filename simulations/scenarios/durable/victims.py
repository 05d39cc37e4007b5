"""The processes of a world as something that dies and comes back: this world plays systemd."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cloud.jobs.hold import LOCK, locked
from cloud.training.events import AnyEvent, AttemptStarted
from edge.training.trainer import NODE
from simulations.scenarios.durable.plan import Kill, Victim
from simulations.world.ports import answers
from simulations.world.process import Process
from simulations.world.world import World

BACK_OFF_S = 1.0
"""Between the death of a process and its restart, as `RestartSec=1` has it."""


@dataclass(slots=True)
class Victims:
    """Finds, kills and restarts."""

    world: World
    place: Path
    """Directory of the run."""

    _died: dict[str, float] = field(default_factory=dict)

    def pid(self, kill: Kill) -> int | None:
        """The process to be killed, while it lives."""
        match kill.victim:
            case Victim.JOB:
                text = (self.place / LOCK).read_text().strip() if locked(self.place) else ""
                return int(text) if text.isdigit() else None
            case Victim.TRAINER:
                return self._trainer(kill.device)
            case Victim.AGENT:
                return self.world.agents[kill.device].pid
            case Victim.BROKER:
                return self.world.broker.pid
            case _:
                return self._server(kill.victim).pid

    def kill(self, kill: Kill) -> int | None:
        """`kill -9` of that process alone; its id, or None when there is none at the moment."""
        pid = self.pid(kill)
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return None
        return pid

    def restart(self) -> None:
        """Start again what has been dead for a while; jobs and trainers are the business of their parents."""
        self._again("broker", self.world.broker.pid, self.world.broker.start)
        for process in [*self.world.servers.values(), *self.world.agents.values()]:
            self._again(process.name, process.pid, process.start)

    def back(self, kill: Kill, events: list[AnyEvent], *, since: float, dead: int) -> bool:
        """Whether another process serves in place of the `dead` one, killed at `since`, Unix seconds."""
        match kill.victim:
            case Victim.JOB:
                return any(isinstance(event, AttemptStarted) and event.at > since for event in events)
            case Victim.TRAINER | Victim.AGENT:
                node = self.world.specs[kill.device].data
                return node is not None and _modified(node / NODE) > since
            case Victim.BROKER:
                return self.world.broker.pid not in (None, dead)  # it waits for its port before it returns
            case _:
                port = self.world.ports[0 if kill.victim is Victim.COORDINATOR else 2]
                return self._server(kill.victim).pid not in (None, dead) and answers(port)

    def _again(self, name: str, pid: int | None, start: Callable[[], None]) -> None:
        if pid is not None:
            self._died.pop(name, None)
        elif time.monotonic() - self._died.setdefault(name, time.monotonic()) >= BACK_OFF_S:
            start()
            self.world.note_processes()

    def _server(self, victim: Victim) -> Process:
        return self.world.servers["serve" if victim is Victim.COORDINATOR else "superlink"]

    def _trainer(self, device: str) -> int | None:
        agent = self.world.agents[device].pid
        try:
            children = psutil.Process(agent).children() if agent else []
            found = [child.pid for child in children if "trainer" in child.cmdline()]
        except psutil.NoSuchProcess:
            return None
        return found[0] if found else None


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
