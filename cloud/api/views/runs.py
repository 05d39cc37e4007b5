"""Runs with their rounds."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from cloud.store.runs import Run as RunRow
from cloud.store.runs import Runs
from shared.api import Round, RoundProgress, Run


def run_view(connection: Connection, row: RunRow) -> Run:
    """One run with the rounds that are closed; the one under way has no weights yet."""
    closed = [found for found in Runs(connection).rounds(row.id) if found.digest]
    rounds = [msgspec.convert(found, Round, from_attributes=True) for found in closed]
    return msgspec.structs.replace(msgspec.convert(row, Run, from_attributes=True), rounds=rounds)


def progress_view(connection: Connection, row: RunRow, *, since: int) -> list[RoundProgress]:
    """The rounds from number `since` on, and with them the one under way."""
    found = [one for one in Runs(connection).rounds(row.id) if one.number >= since and one.progress]
    return [msgspec.convert(one.progress, RoundProgress) for one in found]
