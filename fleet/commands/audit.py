"""The audit log: shown, exported, and verified here without believing the coordinator."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import track

from fleet import tables
from fleet.client import Client
from fleet.session import Json, connected, fail, one_line, print_json, show
from shared.anchors import read_signed
from shared.audit import (
    MAX_LINE,
    Anchor,
    AuditRow,
    Chain,
    Flaw,
    Line,
    Signed,
    Witness,
    export_line,
    read_anchors,
    read_export,
)
from shared.errors import RefusedError

audit_app = typer.Typer(no_args_is_help=True, help="The audit log.")

LONG = 5_000
"""Rows from which on a person is shown how far it is."""

REMEDY = "Compare with a backup; do not trust the rows from there on."

EPILOG = "Example: hinterland audit verify --anchors /mnt/worm/audit-anchors.jsonl --root 1.root.json"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    rows: int
    """That are in order, from the first."""

    last: str
    """Digest of the last of them."""

    anchors: int
    """Digests noted elsewhere that agree."""

    backwards: list[int]
    """Rows that claim an earlier time than one before them: a clock was set back."""

    row: int | None = None
    """The first bad one."""

    flaw: str | None = None


@audit_app.command("list")
def list_rows(context: typer.Context, as_json: Json = False) -> None:
    """Show who did what and why."""
    with connected(context) as client:
        found = list(client.audit())
        rows = [(r.number, tables.moment(r.at), r.actor, r.action, r.subject, r.reason) for r in found]
        columns = ("", "at", "actor", "action", "subject", "reason")
        show(found, tables.table("Audit log", columns, rows), as_json=as_json)


@audit_app.command(epilog="Example: hinterland audit export audit.jsonl && hinterland audit verify --file audit.jsonl")
def export(context: typer.Context, file: Annotated[Path, typer.Argument(help="Where to; it is replaced.")]) -> None:
    """Write the whole log, and what is known of earlier heads, to a file that is verified without a coordinator."""
    with connected(context) as client:
        count = 0
        with _writing(file) as out:
            for row in client.audit():
                out.write(export_line(Line(row=row)))
                count += 1
            out.write(export_line(Line(witness=_asked(client))))
        typer.echo(f"{count} rows are in {file}.")


@audit_app.command(epilog=EPILOG)
def verify(  # noqa: PLR0917  typer makes options of them, which have names
    context: typer.Context,
    file: Annotated[Path | None, typer.Option(help="An exported log; no coordinator is asked.")] = None,
    anchors: Annotated[list[Path] | None, typer.Option(help="A file of anchors kept elsewhere; repeatable.")] = None,
    timestamp: Annotated[
        list[Path] | None, typer.Option(help="A signed timestamp.json kept elsewhere, e.g. by a device; repeatable.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The tenant's 1.root.json, kept elsewhere.")] = None,
    contains: Annotated[str, typer.Option(help="A digest noted earlier that must still be in the log.")] = "",
    as_json: Json = False,
) -> None:
    """Check the whole log here, row by row and against its anchors. Ends with status 1 if it was altered."""
    if file is not None:
        with one_line():
            witness = _witness(file)
            held = _anchors(witness, anchors or [], timestamp or [], root)
            _judge(_rows(file), held, witness, contains, as_json=as_json)
        return
    with connected(context) as client:
        witness = _asked(client)
        held = _anchors(witness, anchors or [], timestamp or [], root)
        _judge(client.audit(), held, witness, contains, as_json=as_json)


def _judge(
    rows: Iterable[AuditRow], anchors: Sequence[Anchor], witness: Witness, contains: str, *, as_json: bool
) -> None:
    chain, flaw, met = Chain(anchors), None, not contains
    for row in _shown(rows, witness.head.number if witness.head else 0):
        if (flaw := chain.take(row)) is not None:
            break
        met = met or row.digest == contains
    flaw = flaw or chain.end()
    if flaw is None and not met:
        text = "the digest noted earlier is gone: rows were cut off or all were written anew"
        flaw = Flaw(chain.rows + 1, text)
    _tell(chain, flaw, as_json=as_json)


def _tell(chain: Chain, flaw: Flaw | None, *, as_json: bool) -> None:
    if as_json:
        print_json(
            Verdict(
                rows=chain.rows,
                last=chain.digest,
                anchors=chain.confirmed,
                backwards=chain.backwards,
                row=None if flaw is None else flaw.number,
                flaw=None if flaw is None else flaw.what,
            )
        )
    for number in chain.backwards[:10] if not as_json else []:
        typer.echo(
            f"hinterland: row {number} claims an earlier time than one before it: a clock was set back", err=True
        )
    if flaw is not None:
        fail(f"the audit log was altered: {flaw}", remedy=REMEDY)
    if not as_json:
        held = f"{chain.confirmed} anchors agree" if chain.confirmed else "no anchor was at hand"
        typer.echo(f"{chain.rows} rows, unbroken; {held}. Note the last digest: {chain.digest}")


def _shown(rows: Iterable[AuditRow], total: int) -> Iterable[AuditRow]:
    """`rows`, with a bar for a person who would have to wait."""
    if total < LONG or not sys.stderr.isatty():
        return rows
    return track(rows, description="verifying", total=total, console=Console(stderr=True), transient=True)


def _anchors(witness: Witness, files: Sequence[Path], timestamps: Sequence[Path], root: Path | None) -> list[Anchor]:
    """Every anchor there is: as the coordinator tells, and as other places do."""
    found = list(witness.anchors)
    for path in files:
        found += read_anchors(_bytes(path), source=str(path))
    pinned = None if root is None else _bytes(root)
    roots = witness.signed.roots if witness.signed else [pinned.decode(errors="replace")] if pinned else []
    texts = [_bytes(path).decode(errors="replace") for path in timestamps]
    texts += [witness.signed.timestamp] if witness.signed else []
    signed = [read_signed(Signed(timestamp=text, roots=roots), pinned=pinned) for text in texts]
    return found + [anchor for anchor in signed if anchor is not None]


def _asked(client: Client) -> Witness:
    """What the coordinator knows; an older one knows nothing."""
    try:
        return client.witness()
    except RefusedError as error:
        if "Not Found" in str(error):
            return Witness(anchors=[])
        raise


def _witness(file: Path) -> Witness:
    anchors: list[Anchor] = []
    signed, head = None, None
    for line in _lines(file):
        if line.witness is not None:
            anchors += line.witness.anchors
            signed, head = line.witness.signed or signed, line.witness.head or head
    return Witness(anchors=anchors, signed=signed, head=head)


def _rows(file: Path) -> Iterator[AuditRow]:
    for line in _lines(file):
        if line.row is not None:
            yield line.row


def _lines(file: Path) -> Iterator[Line]:
    try:
        with file.open("rb") as opened:
            yield from read_export(iter(lambda: opened.readline(MAX_LINE + 1), b""))
    except OSError as error:
        raise RefusedError(f"{file} cannot be read: {error.strerror}", hint="Export the log again.") from error


@contextmanager
def _writing(file: Path) -> Iterator[IO[bytes]]:
    try:
        with file.open("wb") as out:
            yield out
    except OSError as error:
        raise RefusedError(f"{file} cannot be written: {error.strerror}", hint="Choose another place.") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}", hint="Check the path.") from error
