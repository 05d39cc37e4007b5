"""A builder's process: `python -m cloud.models.engines.job DIRECTORY`, started by the factory."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from cloud.jobs.hold import hold
from cloud.models.engines.order import ENGINE, MAGIC, PROGRESS, REPORT, TIMINGS, Progress, Report, read_order
from cloud.models.engines.tensorrt import build
from shared.durable import write_atomic
from shared.errors import FaultError, HinterlandError
from shared.ids import sha256

TELL_S = 0.2
"""Seconds between two words of progress."""


def run(directory: Path) -> Report:
    """Build what `directory` orders and write down how it ended; a refusal is an end like others.

    Raises:
        ContractError: there is no order in it.
        RefusedError: another process builds there.
    """
    with hold(directory) as end:
        order, source = read_order(directory)
        try:
            engine, report = build(order, source, tell=_teller(directory), timings=directory.parent / TIMINGS)
            if not engine.startswith(MAGIC[order.runtime]):
                raise FaultError(f"the engine begins with {engine[:4]!r}, and not as engines for {order.runtime} do")
            write_atomic(directory / ENGINE, engine)
            report = msgspec.structs.replace(report, digest=sha256(engine), size=len(engine))
        except HinterlandError as error:
            report = Report(reason=str(error))
            end.reason, end.final = str(error), True
        write_atomic(directory / REPORT, msgspec.json.encode(report))
    return report


class _Teller:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def __call__(self, phase: str, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TELL_S
            write_atomic(self._path, msgspec.json.encode(Progress(phase=phase, done=done)))


def _teller(directory: Path) -> _Teller:
    return _Teller(directory / PROGRESS)


if __name__ == "__main__":
    told = run(Path(sys.argv[1]))
    print(told.reason or f"built {told.size} bytes, {told.digest}, in {told.seconds:.1f} s", flush=True)
    print("\n".join(told.notes), flush=True)
    sys.exit(bool(told.reason))
