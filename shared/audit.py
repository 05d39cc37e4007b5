"""The chain of the audit log: each row's digest covers its content and the digest of the row before.

Whoever reads the log can verify it without believing the coordinator. What no chain can show by itself, a cut-off end
or a log that was written anew from its first row, is shown by anchors: digests noted elsewhere at the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from shared.errors import ContractError
from shared.ids import Digest, sha256

T = TypeVar("T")

GENESIS = Digest("0" * 64)
"""What the first row continues."""

CLOCK_STEP_S = 60.0
"""Seconds that the clock may go back between two rows without being told: two writers, and clocks set by a server."""

MAX_LINE = 1 << 20
"""Bytes of one line of an exported log or a file of anchors."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One action."""

    number: int
    """From 1, without gaps."""

    at: float
    actor: str
    """`operator:<key name>`, `device:<id>`, `host` (who has the directory) or `coordinator`."""

    action: str
    subject: str
    reason: str = ""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    previous: str
    digest: str = ""


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of the log was at some time, noted where who alters the log does not reach."""

    number: int
    digest: str
    at: float = 0.0
    """Unix seconds when it was noted."""

    source: str = ""
    """Where it was noted, for people."""


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A signed TUF timestamp that names the head, and the roots that name its key; see `shared.anchors`."""

    timestamp: str
    roots: list[str]


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """All that a coordinator knows about earlier heads."""

    anchors: list[Anchor]
    signed: Signed | None = None
    head: Anchor | None = None
    """Number and digest of the newest row."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of an exported log: a row, or what is known of earlier heads."""

    row: AuditRow | None = None
    witness: Witness | None = None


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong, and with which row first."""

    number: int
    what: str

    def __str__(self) -> str:
        return self.what


class Chain:
    """A log read in order, row by row, in memory that does not grow with it."""

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self._anchors = sorted(anchors, key=lambda anchor: anchor.number)
        self._met = 0
        self._latest = 0.0
        self.rows = 0
        self.digest = GENESIS
        """Of the newest row that was taken."""

        self.confirmed = 0
        """Anchors that agree."""

        self.backwards: list[int] = []
        """Rows that claim to be older than one before them: no flaw of the chain, but somebody set a clock back."""

    def take(self, row: AuditRow) -> Flaw | None:
        """Follow one more row; None when it fits."""
        flaw = self._flaw(row)
        if flaw is None:
            self.rows, self.digest = row.number, Digest(row.digest)
            if row.at < self._latest - CLOCK_STEP_S:
                self.backwards.append(row.number)
            self._latest = max(self._latest, row.at)
            flaw = self._compare()
        return flaw

    def end(self) -> Flaw | None:
        """What is wrong with the end of the log, once every row was taken."""
        if self._met == len(self._anchors):
            return None
        missing = self._anchors[-1]
        text = f"the log ends with row {self.rows}, but row {missing.number} was anchored{_where(missing)}"
        return Flaw(self.rows + 1, text)

    def _flaw(self, row: AuditRow) -> Flaw | None:
        expected = self.rows + 1
        if row.number != expected:
            return Flaw(expected, f"row {expected} is missing")
        if row.previous != self.digest:
            return Flaw(expected, f"row {expected} does not continue row {self.rows}")
        if row.digest != _digest(row):
            return Flaw(expected, f"row {expected} was edited")
        return None

    def _compare(self) -> Flaw | None:
        while self._met < len(self._anchors) and self._anchors[self._met].number <= self.rows:
            anchor = self._anchors[self._met]
            if (anchor.number, anchor.digest) != (self.rows, self.digest):
                text = f"row {anchor.number} is not the one that was anchored{_where(anchor)}: the log was written anew"
                return Flaw(anchor.number, text)
            self._met += 1
            self.confirmed += 1
        return None


def seal(row: AuditRow) -> AuditRow:
    """`row` with its digest: SHA-256 over canonical JSON of every other field."""
    return msgspec.structs.replace(row, digest=_digest(row))


def verify(rows: Iterable[AuditRow], anchors: Iterable[Anchor] = ()) -> Flaw | None:
    """What is wrong first with a log read in order, or None."""
    chain = Chain(anchors)
    for row in rows:
        if (flaw := chain.take(row)) is not None:
            return flaw
    return chain.end()


def anchor_line(anchor: Anchor) -> bytes:
    """One line of a file of anchors."""
    return msgspec.json.encode(anchor) + b"\n"


def read_anchors(data: bytes, *, source: str = "") -> list[Anchor]:
    """The anchors of a file that only grows; what a power cut tore is left out.

    Raises:
        ContractError: a whole line is none.
    """
    *whole, _torn = data.split(b"\n")
    # where a power cut tore a line, the next anchor begins on a line of its own
    numbered = [(number, line) for number, line in enumerate(whole, start=1) if line.endswith(b"}")]
    found = [_decode(line, Anchor, number) for number, line in numbered]
    return [msgspec.structs.replace(anchor, source=anchor.source or source) for anchor in found]


def export_line(line: Line) -> bytes:
    """One line of an exported log."""
    return msgspec.json.encode(line) + b"\n"


def read_export(lines: Iterable[bytes]) -> Iterator[Line]:
    """The lines of an exported log, as they are read.

    Raises:
        ContractError: one is none.
    """
    for number, line in enumerate(lines, start=1):
        found = _decode(line, Line, number)
        if (found.row is None) == (found.witness is None):
            raise ContractError(f"line {number} is no line of an audit log", hint="Export the log again.")
        yield found


def _decode(line: bytes, kind: type[T], number: int) -> T:
    if len(line) > MAX_LINE:
        raise ContractError(f"line {number} is over the limit of {MAX_LINE} bytes")
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"line {number} is no {kind.__name__}: {error}", hint="Was the file altered?") from error


def _where(anchor: Anchor) -> str:
    return f" in {anchor.source}" if anchor.source else ""


def _digest(row: AuditRow) -> Digest:
    return sha256(msgspec.json.encode(msgspec.structs.replace(row, digest=""), order="sorted"))
