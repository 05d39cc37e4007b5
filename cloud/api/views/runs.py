"""Runs with their rounds."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from cloud.store.runs import Run as RunRow
from cloud.store.runs import Runs
from shared.api import Round, Run


def run_view(connection: Connection, row: RunRow) -> Run:
    """One run."""
    rounds = [msgspec.convert(found, Round, from_attributes=True) for found in Runs(connection).rounds(row.id)]
    return msgspec.structs.replace(msgspec.convert(row, Run, from_attributes=True), rounds=rounds)
