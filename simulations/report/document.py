"""A report as JSON, for machines and for whoever compares two runs."""

from __future__ import annotations

from pathlib import Path

import msgspec


def document(report: msgspec.Struct) -> bytes:
    """The report as JSON that a person can read, too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def keep_document(report: msgspec.Struct, directory: Path, name: str) -> None:
    """Write it to `directory`, which is made where there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(document(report))
