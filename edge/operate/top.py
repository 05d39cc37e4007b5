"""`hinterland-agent top`: the status as a table that fits a terminal, with rates from two of them."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from edge.operate.status import Latency, PipelineStatus, ServingStatus, Status

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen without a cursor, and back (xterm)
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

PIPELINES = ("PIPELINE", "MODEL", "STATE", "RELEASE", "SHADOW", "IN/s", "P50 ms", "P99 ms", "WAIT", "ERR", "DROPPED")
PROCESSES = ("PROCESS", "PID", "CPU %", "RSS MiB")


def render(now: Status, before: Status | None, *, width: int = 0) -> list[str]:
    """Lines of text.

    Args:
        now: the newest status.
        before: an earlier one of the same agent, for rates; None while there is none.
        width: columns to cut at; 0 for all.
    """
    if before is not None and (before.pid != now.pid or before.monotonic >= now.monotonic):
        before = None
    lines = [*_head(now), "", *_table(PIPELINES, _pipelines(now, before))]
    if now.serving is not None:
        lines += ["", _serving(now.serving, before.serving if before else None, _seconds(now, before))]
    lines += ["", *_table(PROCESSES, _processes(now, before))]
    lines += [f"  {each.model}: {each.ailing}" for each in now.models if each.ailing]
    lines += [f"  {each.name}: {each.reason}" for each in now.pipelines if each.reason]
    clean = ["".join(char if char.isprintable() else "?" for char in line) for line in lines]
    return [line[:width] for line in clean] if width else clean


def _head(now: Status) -> Iterator[str]:
    yield f"{now.device} of fleet {now.fleet}, agent {now.pid}"
    waiting, lost = sum(now.link.waiting.values()), sum(now.link.lost.values())
    link = f"connected, session {now.link.sessions}" if now.link.connected else "NO SESSION with the coordinator"
    outbox = f"outbox: {waiting} waiting, {lost} lost" + ("" if now.link.durable else ", IN MEMORY ONLY")
    yield f"link: {link}   {outbox}"
    yield "   ".join(
        text
        for value, text in (
            (now.temperature_c, f"{now.temperature_c or 0:.1f} °C"),
            (now.memory_mib, f"memory free {now.memory_mib} MiB"),
            (now.disk_mib, f"disk free {now.disk_mib} MiB"),
        )
        if value is not None
    )


def _pipelines(now: Status, before: Status | None) -> Iterator[Sequence[str]]:
    earlier = {each.name: each for each in before.pipelines} if before else {}
    shadows = {each.model: each.challenger for each in now.models}
    for each in now.pipelines:
        rate = _rate(each.processed, earlier.get(each.name), _seconds(now, before))
        yield (
            each.name,
            each.model,
            each.state,
            each.release or "-",
            shadows.get(each.model) or "-",
            rate,
            *_latency(each.latency),
            str(each.waiting),
            str(each.errors),
            _counts(each.dropped),
        )


def _rate(count: int, earlier: PipelineStatus | None, seconds: float) -> str:
    return f"{(count - earlier.processed) / seconds:.1f}" if earlier and seconds else "-"


def _serving(now: ServingStatus, before: ServingStatus | None, seconds: float) -> str:
    total = sum(now.answered.values())
    rate = f"{(total - sum(before.answered.values())) / seconds:.1f}/s" if before and seconds else "-"
    p50, p99 = _latency(now.latency)
    ports = ", ".join(str(port) if port else "not listening" for port in now.ports)
    return (
        f"serving ({ports}): {total} inputs answered, {rate}   p50 {p50} ms   p99 {p99} ms   "
        f"{now.at_work} at work, {now.refused} sent away, {sum(now.errors.values())} errors"
    )


def _processes(now: Status, before: Status | None) -> Iterator[Sequence[str]]:
    earlier = {each.pid: each for each in before.processes} if before else {}
    seconds = _seconds(now, before)
    for each in now.processes:
        was = earlier.get(each.pid)
        cpu = f"{100 * (each.cpu_s - was.cpu_s) / seconds:.0f}" if was and seconds else "-"
        yield each.role, str(each.pid), cpu, f"{each.rss_mib:.1f}"


def _seconds(now: Status, before: Status | None) -> float:
    return now.monotonic - before.monotonic if before else 0.0


def _latency(latency: Latency | None) -> tuple[str, str]:
    return ("-", "-") if latency is None else (f"{latency.p50_ms:.1f}", f"{latency.p99_ms:.1f}")


def _counts(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(counts.items()) if count) or "-"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [tuple(heads), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def show(statuses: Iterable[Status], out: TextIO) -> None:
    """Draw each status over the one before, until they end, `q` or Ctrl-C."""
    before: Status | None = None
    with _screen(out) as wants_out:
        for status in statuses:
            size = shutil.get_terminal_size()
            lines = render(status, before, width=size.columns)[: size.lines - 1]
            out.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)
            out.flush()
            before = status
            if wants_out():
                return


@contextmanager
def _screen(out: TextIO) -> Iterator[Callable[[], bool]]:
    """A screen of its own and keys without Enter; all as it was afterwards."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else -1
    kept = termios.tcgetattr(keys) if keys >= 0 else None

    def wants_out() -> bool:
        ready = keys >= 0 and select.select([keys], [], [], 0)[0]
        return bool(ready) and b"q" in os.read(keys, 64)

    out.write(_ENTER)
    try:
        if kept is not None:
            tty.setcbreak(keys)
        yield wants_out
    except KeyboardInterrupt:
        pass
    finally:
        if kept is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, kept)
        out.write(_LEAVE)
        out.flush()
